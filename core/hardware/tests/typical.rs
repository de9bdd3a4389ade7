//! Typical machines of profiles: every chip makes one that its own profile recognises, and figures lie near those of
//! machines that were seen.

#![allow(clippy::unwrap_used)]

use llama_pajamas_hardware::{Subject, Supplied, classes, detect_at, profiles, typical};
use std::path::Path;

#[test]
fn every_chip_makes_a_machine_of_its_own() {
    for (class, chip) in profiles() {
        let any = class.machine.as_ref().unwrap().any_ram && class.subject == Subject::Machine;
        let sizes = if any { vec![16, 48] } else { chip.ram_gb.clone() };
        assert!(!sizes.is_empty(), "{}", chip.id);
        for gb in sizes {
            let wish = format!("{}:{gb}", chip.id);
            let mut host = typical(&wish).unwrap();
            let named = |host: &llama_pajamas_hardware::Host| match class.subject {
                Subject::Machine => host.profile.clone().unwrap().id,
                Subject::Gpu => host.gpus[0].profile.clone().unwrap().id,
            };
            assert_eq!(named(&host), chip.id, "{wish}");
            let memory = &host.memory;
            assert!(memory.budget_bytes < memory.available_bytes, "{wish}");
            assert!(memory.available_bytes < memory.total_bytes, "{wish}");
            assert!(memory.budget_bytes > 0 || gb <= 2, "{wish}: nothing left");
            assert!(host.cpu.core_classes.is_sorted_by_key(|class| std::cmp::Reverse(class.speed)), "{wish}");
            assert!(host.priors.bandwidth_gbs.is_some() || class.subject == Subject::Gpu, "{wish}");
            // A machine whose memory lies outside its own rule is another one: 96 GB of the smaller M3 Max.
            host.supply(&Supplied::default());
            assert!(named(&host) == chip.id || wish == "apple-m3-max-30:96", "{wish}: {}", named(&host));
        }
    }
}

#[test]
fn every_class_makes_a_machine() {
    for class in classes() {
        let host = typical(&class.id).unwrap();
        let found = if class.subject == Subject::Gpu { &host.gpus[0].profile } else { &host.profile };
        assert_eq!(found.as_ref().unwrap().class, class.id);
    }
}

/// A typical machine beside one that a file replays: installed memory within 3 %, the same kinds of cores.
#[test]
fn typical_machines_are_like_recorded_ones() {
    for (wish, file) in [
        ("apple-m2:8", "mac-m2-8gb-pressed"),
        ("apple-m4-pro:24", "mac-m4-pro-24gb"),
        ("jetson-orin-nano-8gb", "jetson-orin-nano-8gb"),
        ("tensor-g4:12", "phone-pixel-9"),
        ("raspberry-pi-5:8", "raspberry-pi-5"),
        ("snapdragon-8-elite:12", "phone-snapdragon-8-elite-12gb"),
    ] {
        let typical = typical(wish).unwrap();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        let seen = detect_at(&folder.join(file).with_extension("host")).unwrap();
        let ratio = typical.memory.total_bytes as f64 / seen.memory.total_bytes as f64;
        assert!((0.97..1.03).contains(&ratio), "{wish}: {ratio}");
        let cores = |host: &llama_pajamas_hardware::Host| -> Vec<u32> {
            host.cpu.core_classes.iter().map(|class| class.n_cores).collect()
        };
        assert_eq!(cores(&typical), cores(&seen), "{wish}");
        assert_eq!((&typical.os, &typical.arch), (&seen.os, &seen.arch), "{wish}");
        assert_eq!(typical.priors, seen.priors, "{wish}");
        assert_eq!(typical.memory.unified, seen.memory.unified, "{wish}");
    }
}

#[test]
fn metal_takes_two_thirds_of_small_memories() {
    for (wish, mib) in
        [("apple-m2:8", 5461), ("apple-m4:16", 10922), ("apple-m3-pro:36", 27648), ("apple-m4-pro:64", 49152)]
    {
        let told = typical(wish).unwrap().gpus[0].memory_bytes.unwrap() >> 20;
        assert!(told.abs_diff(mib) < 16, "{wish}: {told} MiB");
    }
}

#[test]
fn wishes_that_no_profile_has_are_refused() {
    for (wish, words) in [
        ("apple-m2:12", "expected one of 8, 16, 24 GB, got 12 GB"),
        ("apple-m2:lots", "expected a size in GB like 8, got lots"),
        ("apple-m22", "expected a profile like apple-m2"),
        ("", "expected a profile like"),
        ("container:0", "expected a size in GB like 8, got 0"),
    ] {
        let error = typical(wish).unwrap_err().to_string();
        assert!(error.contains(words), "{wish}: {error}");
    }
}
