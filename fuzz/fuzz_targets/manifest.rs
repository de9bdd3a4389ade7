//! Any bytes as a bundle's manifest: an error, or a manifest that survives a rewrite and whose paths stay inside.
//! Knows the public API alone.
#![no_main]

use std::path::{Component, Path};

use bundle::{Manifest, TrustStore, signature};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // The same bytes as a signature file: never trusted.
    assert!(!signature::check(b"manifest", Some(bytes), &TrustStore::new()).is_trusted());
    let Ok(manifest) = Manifest::parse(bytes) else { return };
    assert_eq!(Manifest::parse(&manifest.to_bytes()).as_ref(), Ok(&manifest));
    for file in manifest.variants.iter().flat_map(|variant| &variant.files) {
        let path = Path::new("/bundle").join(&file.path);
        assert!(path.starts_with("/bundle"));
        assert!(path.components().skip(1).all(|component| matches!(component, Component::Normal(_))));
    }
});
