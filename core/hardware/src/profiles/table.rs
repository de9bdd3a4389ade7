//! The tables of `hardware-profiles/`, carried in the library as one compressed JSON text and read once.
//! Knows how they are carried; must not know what they say.

use super::chip::{Profile, ProfileClass};
use super::machine::System;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::OnceLock;

/// Written by the build script, deflated: `{"classes": […], "arm_parts": {…}, "systems": {…}}`.
const TABLES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/profiles.deflate"));

#[derive(Deserialize)]
struct Tables {
    classes: Vec<ProfileClass>,
    arm_parts: HashMap<String, ArmPart>,
    systems: HashMap<String, System>,
}

/// A kind of ARM core.
#[derive(Deserialize)]
pub(crate) struct ArmPart {
    /// The maker's name, e.g. `Cortex-X3`.
    pub(crate) name: String,
    /// Built to save energy: it executes in order.
    #[serde(default)]
    pub(crate) little: bool,
}

fn tables() -> &'static Tables {
    static READ: OnceLock<Tables> = OnceLock::new();
    READ.get_or_init(|| {
        let json = miniz_oxide::inflate::decompress_to_vec(TABLES).ok();
        json.and_then(|json| serde_json::from_slice(&json).ok())
            .expect("the build script checked the tables and a test reads them")
    })
}

/// Every class, with its chips.
pub fn classes() -> &'static [ProfileClass] {
    &tables().classes
}

/// Every chip with its class.
pub fn profiles() -> impl Iterator<Item = (&'static ProfileClass, &'static Profile)> {
    classes().iter().flat_map(|class| class.chips.iter().map(move |chip| (class, chip)))
}

/// A chip by its id.
pub fn profile(id: &str) -> Option<(&'static ProfileClass, &'static Profile)> {
    profiles().find(|(_, chip)| chip.id == id)
}

/// A kind of core by `implementer/part`, e.g. `0x41/0xd4e`.
pub(crate) fn arm_part(part: &str) -> Option<&'static ArmPart> {
    tables().arm_parts.get(part)
}

/// What a system leaves, by its name in `systems.toml`.
pub(crate) fn system(name: &str) -> Option<&'static System> {
    tables().systems.get(name)
}
