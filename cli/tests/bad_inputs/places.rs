//! Places that cannot be written: read-only, full, taken.
//! Needs no privileges; what a privileged user could write all the same is tried where nobody can.

use super::stage::{Door, Stage, copy_all};
use super::{Case, case};
use llama_pajamas::bundle::{BundleWriter, ModelCard};
use std::fs;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![
        case("place: a file in the way", &["out", "exists"], |stage| {
            stage.checkpoint();
            fs::write(stage.path("out"), "mine").unwrap();
            vec![stage.quantize(&[])]
        }),
        case("place: below a file", &["file/out"], |stage| {
            stage.checkpoint();
            fs::write(stage.path("file"), "mine").unwrap();
            vec![stage.quantize(&["--output", &stage.text("file/out")])]
        }),
        case("place: a broken bundle in the way", &["out/manifest.json", "schema_version"], |stage| {
            stage.checkpoint();
            fs::create_dir(stage.path("out")).unwrap();
            fs::write(stage.path("out/manifest.json"), "{}").unwrap();
            vec![stage.quantize(&[])]
        }),
        case("place: another writer at work", &["out", "another process is writing here"], |stage| {
            stage.checkpoint();
            let card = ModelCard { id: "model".into(), ..ModelCard::default() };
            // Held until the test ends: its directory goes with the stage.
            std::mem::forget(BundleWriter::create_or_open(&stage.path("out"), card).unwrap());
            vec![stage.quantize(&[])]
        }),
    ];
    #[cfg(unix)]
    cases.extend(unix());
    #[cfg(target_os = "linux")]
    cases.extend(small_disks());
    cases
}

#[cfg(unix)]
fn unix() -> Vec<Case> {
    /// Files end after 1 MiB, as on a disk that is full by then. The signal is held off, so that writing fails.
    const SMALL_FILES: &str = "trap '' XFSZ; ulimit -f 2048; exec \"$@\"";
    vec![
        case("place: read-only", &["cannot create directory", "out"], |stage| {
            stage.checkpoint();
            vec![stage.quantize(&["--output", &read_only(stage)])]
        }),
        case("place: full half-way", &["cannot write", "out", "File too large"], |stage| {
            stage.checkpoint();
            vec![
                stage.quantize(&[]).through(SMALL_FILES),
                stage.quantize(&["--precision", "F16"]).through(SMALL_FILES),
            ]
        }),
        case("place: full beside a variant", &["cannot write", "out", "File too large"], |stage| {
            copy_all(&stage.bundle(), &stage.path("out"));
            copy_all(&stage.checkpoint(), &stage.path("pajama-stories-4m"));
            vec![stage.quantize_from("pajama-stories-4m", &["--precision", "Q4_0"]).through(SMALL_FILES)]
        }),
        case("place: no room for a signature", &["manifest.sig", "File too large"], |stage| {
            let key = llama_pajamas::bundle::SigningKey::generate().unwrap();
            stage.bundle();
            key.write(&stage.path("my.key")).unwrap();
            let sign =
                Door::command(&["bundle", "sign", &stage.text("bundle"), "--key", &stage.text("my.key")]);
            vec![sign.through("trap '' XFSZ; ulimit -f 0; exec \"$@\"")]
        }),
    ]
}

/// Rows on a file system of their own, which takes a name space of its own: where the system gives none, the rows are
/// left out, and the list says so.
#[cfg(target_os = "linux")]
fn small_disks() -> Vec<Case> {
    /// Mounts `small/` with room for 1 MiB; shows what is left there afterwards.
    const SMALL: &str = "exec unshare -rm sh -c 'mount -t tmpfs -o size=1m none \"$PLACE\" && { \"$@\"; code=$?; ls -A \"$PLACE\" >&2; exit $code; }' sh \"$@\"";
    /// The same with room for three files and directories.
    const FEW: &str = "exec unshare -rm sh -c 'mount -t tmpfs -o size=64m,nr_inodes=4 none \"$PLACE\" && { \"$@\"; code=$?; ls -A \"$PLACE\" >&2; exit $code; }' sh \"$@\"";
    let granted =
        std::process::Command::new("unshare").args(["-rm", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if !granted.is_ok_and(|output| output.status.success()) {
        println!("left out: full disks (no name space for mounting)");
        return Vec::new();
    }
    let on = |script: &'static str| {
        move |stage: &Stage<'_>| {
            stage.checkpoint();
            fs::create_dir(stage.path("place")).unwrap();
            vec![
                stage.quantize(&["--precision", "F16", "--output", &stage.text("place/out")]).through(script),
            ]
        }
    };
    vec![
        case(
            "place: less room than predicted",
            &["place/out", "not enough disk space", "need 8", "have"],
            on(SMALL),
        ),
        case("place: a full disk", &["place/out", "No space left on device"], on(FEW)),
    ]
}

/// A path that this user cannot create. Permissions do not hold a privileged user, who gets one below `/proc/self`,
/// where nobody makes directories.
#[cfg(unix)]
fn read_only(stage: &Stage<'_>) -> String {
    use std::os::unix::fs::PermissionsExt;
    let locked = stage.path("read-only");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
    let probe = locked.join("probe");
    if fs::write(&probe, "x").is_err() {
        return stage.text("read-only/out");
    }
    fs::remove_file(probe).unwrap();
    "/proc/self/out".into()
}
