//! The names in a description's JSON, which apps read: a name that goes or changes is a change of the interface.
//! `UPDATE_EXPECT=1 cargo test` writes the list anew: read the difference.

#![allow(clippy::unwrap_used)]

use llama_pajamas_hardware::{Supplied, SuppliedDevice, detect_at};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

fn names(value: &Value, place: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let place = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
                found.insert(place.clone());
                names(value, &place, found);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| names(value, &format!("{place}[]"), found)),
        _ => {}
    }
}

#[test]
fn names_stay() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    for host in ["laptop-i7-13700h", "windows-desktop-rtx-4090", "jetson-orin-nano-8gb-super"] {
        let mut host = detect_at(&folder.join("fixtures").join(host).with_extension("host")).unwrap();
        let device = SuppliedDevice { name: "Radeon RX 7900 XTX".into(), ..SuppliedDevice::default() };
        host.supply(&Supplied { devices: vec![device], ..Supplied::default() });
        names(&serde_json::to_value(&host).unwrap(), "", &mut found);
    }
    let now: String = found.iter().map(|name| format!("{name}\n")).collect();
    let path = folder.join("tests/shape.txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let stated = std::fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
    assert!(stated == now, "UPDATE_EXPECT=1 writes it anew. Now:\n{now}");
}
