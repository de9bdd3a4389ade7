//! The archive for Android: classes of the Kotlin library, the native library per kind of processor, and rules for shrinkers.
//!
//! Owns its layout. Building the native libraries needs Android's NDK and cargo-ndk; where they are built already, a folder with
//! `arm64-v8a/` and so on is enough.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{checked, folder};

/// Kinds of processors, as Android calls them. There are no CPU variants for 32-bit ones.
const ABIS: [&str; 2] = ["arm64-v8a", "x86_64"];
/// The oldest Android, by its API level: the first with what the engine uses of its C library.
const API: &str = "26";
const LIBRARY: &str = "libllama_pajamas_ffi.so";
const MANIFEST: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<manifest xmlns:android="http://schemas.android.com/apk/res/android" package="io.github.llamapajamas">
    <uses-sdk android:minSdkVersion="26" />
</manifest>
"#;
/// What shrinkers have to leave: JNA finds fields and callbacks by name.
const RULES: &str = "\
-dontwarn java.awt.*
-keep class com.sun.jna.** { *; }
-keep class io.github.llamapajamas.** { *; }
-keepclassmembers class * extends com.sun.jna.** { public *; }
";

/// Makes the archive of libraries below `libraries`, or of new ones.
pub(super) fn archive(root: &Path, libraries: Option<&Path>) -> Result<PathBuf> {
    let out = folder(root)?;
    let libraries = match libraries {
        Some(libraries) => libraries.to_owned(),
        None => built(root, &out.join("android"))?,
    };
    let tree = out.join("aar");
    if tree.exists() {
        fs::remove_dir_all(&tree).with_context(|| format!("removing {}", tree.display()))?;
    }
    for abi in ABIS {
        let library = libraries.join(abi).join(LIBRARY);
        // Android asks for 16 KB.
        let check = root.join("scripts/check-library");
        checked(Command::new(check).arg(&library).args([
            "--uniffi",
            "--jni",
            "--test-hooks",
            "--page",
            "16384",
        ]))?;
        let place = tree.join("jni").join(abi);
        fs::create_dir_all(&place)?;
        fs::copy(&library, place.join(LIBRARY)).with_context(|| format!("copying {}", library.display()))?;
    }
    let maven = root.join("bindings/kotlin/pom.xml");
    let android = android_jar()?;
    checked(
        Command::new("mvn")
            .args(["-q", "-B", "-f"])
            .arg(&maven)
            .args(["-Pandroid", "-Dmaven.test.skip=true"])
            .arg(format!("-Dandroid.jar={}", android.display()))
            .arg("package"),
    )?;
    let jar = root.join(format!("bindings/kotlin/target/llama-pajamas-{}.jar", env!("CARGO_PKG_VERSION")));
    fs::copy(&jar, tree.join("classes.jar")).with_context(|| format!("copying {}", jar.display()))?;
    for (name, text) in [("AndroidManifest.xml", MANIFEST), ("proguard.txt", RULES), ("R.txt", "")] {
        fs::write(tree.join(name), text).with_context(|| format!("writing {name}"))?;
    }
    let made = out.join(format!("llama-pajamas-{}.aar", env!("CARGO_PKG_VERSION")));
    checked(
        Command::new("jar")
            .arg("--create")
            .arg("--no-manifest")
            .arg("--file")
            .arg(&made)
            .arg("-C")
            .arg(&tree)
            .arg("."),
    )?;
    fs::remove_dir_all(&tree).with_context(|| format!("removing {}", tree.display()))?;
    Ok(made)
}

/// Android's classes: `ANDROID_JAR`, or the newest platform of the SDK at `ANDROID_HOME`.
fn android_jar() -> Result<PathBuf> {
    if let Some(jar) = std::env::var_os("ANDROID_JAR") {
        return Ok(jar.into());
    }
    let home = std::env::var_os("ANDROID_HOME").context("expected ANDROID_HOME or ANDROID_JAR")?;
    let platforms = Path::new(&home).join("platforms");
    let entries = fs::read_dir(&platforms).with_context(|| format!("reading {}", platforms.display()))?;
    let level = |path: &Path| {
        let name = path.file_name()?.to_str()?.strip_prefix("android-")?;
        name.split(['.', '-']).next()?.parse::<u32>().ok()
    };
    let jars = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let newest = jars.filter(|path| path.join("android.jar").is_file()).max_by_key(|path| level(path));
    Ok(newest.with_context(|| format!("no platform in {}", platforms.display()))?.join("android.jar"))
}

fn built(root: &Path, out: &Path) -> Result<PathBuf> {
    let ndk = Command::new("cargo").args(["ndk", "--version"]).output().context("running cargo")?;
    ensure!(ndk.status.success(), "expected cargo-ndk and Android's NDK, or a folder of libraries");
    let mut build = Command::new("cargo");
    build
        .current_dir(root)
        .arg("ndk")
        .args(ABIS.iter().flat_map(|abi| ["-t", *abi]))
        .args(["-P", API, "-o"])
        .arg(out);
    build.args(["rustc", "--profile", "dist", "-p", "llama-pajamas-ffi", "--lib", "--crate-type", "cdylib"]);
    checked(build.args(["--features", "jni,uniffi", "--", "-C", "link-arg=-Wl,-z,max-page-size=16384"]))?;
    Ok(out.to_owned())
}
