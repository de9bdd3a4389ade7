//! Instruction sets of a 64-bit ARM processor, asked of the system. Names as in Linux's cpuinfo.

use std::arch::is_aarch64_feature_detected;

pub(crate) fn detected() -> Vec<String> {
    let found = [
        ("asimd", is_aarch64_feature_detected!("neon")),
        ("asimdhp", is_aarch64_feature_detected!("fp16")),
        ("asimddp", is_aarch64_feature_detected!("dotprod")),
        ("i8mm", is_aarch64_feature_detected!("i8mm")),
        ("bf16", is_aarch64_feature_detected!("bf16")),
        ("sve", is_aarch64_feature_detected!("sve")),
    ];
    found.iter().filter(|(_, here)| *here).map(|(name, _)| name.to_string()).collect()
}
