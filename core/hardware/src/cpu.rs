//! Processor facts from `/proc/cpuinfo`, topology, affinity and quotas together.
//! Knows the spelling of cpuinfo on x86 and ARM; must not decide how many threads to run.

use crate::host::{Cpu, MachineFacts};
use crate::root::Root;
use crate::{Error, cgroup, topology};
use std::collections::BTreeSet;

/// Flags of cpuinfo that matter to inference, x86 then ARM.
const ISA: [&str; 28] = [
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "f16c",
    "bmi2",
    "avx_vnni",
    "avx512f",
    "avx512dq",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx512_vbmi",
    "avx512vbmi",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "asimdhp",
    "asimddp",
    "i8mm",
    "bf16",
    "sve",
    "sve2",
    "svei8mm",
    "sme",
];

/// Reads the processor and what its file says of the machine.
pub(crate) fn read(root: &Root) -> Result<(Cpu, MachineFacts), Error> {
    let cpuinfo = root.required("proc/cpuinfo")?;
    let field = |names: &[&str]| {
        let value = |name: &&str| {
            cpuinfo.lines().find_map(|line| {
                let (found, value) = line.split_once(':')?;
                (found.trim() == *name && !value.trim().is_empty()).then(|| value.trim().to_string())
            })
        };
        names.iter().find_map(value)
    };
    let listed: Vec<u32> = cpuinfo
        .lines()
        .filter_map(|line| {
            let (name, number) = line.split_once(':')?;
            if name.trim() == "processor" { number.trim().parse().ok() } else { None }
        })
        .collect();
    if listed.is_empty() {
        let path = root.path("proc/cpuinfo");
        let expected = "lines `processor : <number>`";
        return Err(Error::Content { path, expected, got: "none".into() });
    }
    let (x86, arm) = (field(&["flags"]), field(&["Features"]));
    let arch = match (&x86, &arm) {
        (Some(flags), _) if flags.split_whitespace().any(|flag| flag == "lm") => "x86_64",
        (Some(_), _) => "x86",
        (None, Some(features)) if features.split_whitespace().any(|flag| flag == "asimd") => "aarch64",
        (None, Some(_)) => "arm",
        (None, None) => std::env::consts::ARCH,
    };
    let flags = x86.or(arm).unwrap_or_default();
    let flags: BTreeSet<&str> = flags.split_whitespace().collect();
    let model = device_tree(root, "model");
    let brand = field(&["model name", "Hardware", "Model"]).or_else(|| model.clone());

    let allowed = topology::allowed(root);
    let classes = topology::core_classes(root, &listed, allowed.as_ref());
    let logical = listed.len() as u32;
    let in_mask = allowed.map_or(logical, |set| set.len() as u32).min(logical);
    let quota_cpus = cgroup::cpu_quota(root);
    // Rounded down: a quota of one and a half processors lets one thread run undisturbed.
    let usable = f64::from(in_mask).min(quota_cpus.unwrap_or(f64::INFINITY)).floor() as u32;
    let cpu = Cpu {
        brand: brand.unwrap_or_else(|| "unknown".into()),
        isa: ISA.iter().filter(|name| flags.contains(**name)).map(|name| name.to_string()).collect(),
        physical_cores: classes.iter().map(|class| class.n_cores).sum::<u32>().max(1),
        logical_cpus: logical,
        usable_cpus: usable.max(1),
        usable_cores: classes.iter().map(|class| class.n_usable_cores).sum::<u32>().max(1),
        fast_cores: classes.iter().find(|class| class.n_usable_cores > 0).map_or(1, |c| c.n_usable_cores),
        quota_cpus,
        core_classes: classes,
    };
    Ok((cpu, MachineFacts { arch: arch.into(), model }))
}

/// A string of the device tree, which ends in a zero byte.
fn device_tree(root: &Root, name: &str) -> Option<String> {
    let text = root
        .text(&format!("proc/device-tree/{name}"))
        .or_else(|| root.text(&format!("sys/firmware/devicetree/base/{name}")))?;
    let text = text.trim_end_matches(['\0', '\n']).trim();
    (!text.is_empty()).then(|| text.to_string())
}
