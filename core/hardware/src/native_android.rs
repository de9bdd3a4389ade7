//! This machine, on Android: the real root, and the system properties, whose files apps may not read.

pub(crate) use crate::linux::{conditions, read};

use crate::linux::PROPERTIES;
use crate::root::Root;
use android_system_properties::AndroidSystemProperties;
use std::path::Path;

/// Properties that detection looks at.
const NAMES: [&str; 7] = [
    "ro.soc.model",
    "ro.soc.manufacturer",
    "ro.board.platform",
    "ro.hardware",
    "ro.product.model",
    "ro.build.version.release",
    "ro.product.manufacturer",
];

pub(crate) fn root() -> Root {
    let system = AndroidSystemProperties::new();
    let lines = NAMES.iter().filter_map(|name| Some(format!("[{name}]: [{}]\n", system.get(name)?)));
    Root::folder(Path::new("/")).with(PROPERTIES, lines.collect())
}
