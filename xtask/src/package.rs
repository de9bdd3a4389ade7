//! `cargo xtask package`: what is handed to others. Owns the layout of packages; the library is built by `scripts/build-library`.
//!
//! Everything lands in `package/` below the target folder, under a name that tells version and machine. Nothing is uploaded.

mod android;
mod apple;

use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What of the library goes into packages: everything but the quantizer, and for the wheel the objects that Python uses.
const FEATURES: &str = "default";
const FEATURES_FOREIGN: &str = "default,uniffi";

/// Makes one kind of package; `library`: a library that is built already, instead of a new one.
pub(crate) fn run(root: &Path, kind: &str, library: Option<&Path>) -> Result<()> {
    let made = match kind {
        "wheel" => wheel(root, library)?,
        "tarball" => tarball(root, library)?,
        "deb" => deb(root, library)?,
        "aar" => android::archive(root, library)?,
        "xcframework" => apple::framework(root)?,
        other => bail!("unknown package {other}, expected wheel, tarball, deb, aar or xcframework"),
    };
    println!("{}", made.display());
    Ok(())
}

fn wheel(root: &Path, library: Option<&Path>) -> Result<PathBuf> {
    let library = built(root, FEATURES_FOREIGN, library)?;
    let glibc = glibc(root, &library)?;
    let output = Command::new("python3")
        .arg(root.join("bindings/python/make_wheel.py"))
        .arg(&library)
        .args([env!("CARGO_PKG_VERSION"), &glibc])
        .arg(folder(root)?)
        .output()
        .context("running python3")?;
    ensure!(output.status.success(), "make_wheel.py: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).trim().into())
}

fn tarball(root: &Path, library: Option<&Path>) -> Result<PathBuf> {
    let library = built(root, FEATURES, library)?;
    let name = format!("llama-pajamas-{}-{}", env!("CARGO_PKG_VERSION"), machine(&library)?);
    let folder = folder(root)?;
    let prefix = folder.join(&name);
    installed(root, &library, &prefix, "${pcfiledir}/../..")?;
    let made = folder.join(format!("{name}.tar.gz"));
    checked(Command::new("tar").arg("-C").arg(&folder).arg("-czf").arg(&made).arg(&name))?;
    fs::remove_dir_all(&prefix).with_context(|| format!("removing {}", prefix.display()))?;
    Ok(made)
}

fn deb(root: &Path, library: Option<&Path>) -> Result<PathBuf> {
    let library = built(root, FEATURES, library)?;
    let architecture = if machine(&library)? == "linux-aarch64" { "arm64" } else { "amd64" };
    let name = format!("libllama-pajamas_{}_{architecture}", env!("CARGO_PKG_VERSION"));
    let folder = folder(root)?;
    let tree = folder.join(&name);
    installed(root, &library, &tree.join("usr"), "/usr")?;
    fs::create_dir_all(tree.join("DEBIAN"))?;
    fs::write(
        tree.join("DEBIAN/control"),
        format!(
            "Package: libllama-pajamas\nVersion: {}\nArchitecture: {architecture}\nSection: libs\nPriority: optional\n\
             Maintainer: The Llama Pajamas developers <noreply@localhost>\nDepends: libc6 (>= {}), libstdc++6, libgcc-s1\n\
             Description: A runtime for language models on devices\n C and C++ headers, pkg-config file and CMake package included.\n",
            env!("CARGO_PKG_VERSION"),
            glibc(root, &library)?
        ),
    )?;
    let made = folder.join(format!("{name}.deb"));
    checked(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(&tree).arg(&made))?;
    fs::remove_dir_all(&tree).with_context(|| format!("removing {}", tree.display()))?;
    Ok(made)
}

/// Lays the library out below `prefix`, whose pkg-config file speaks of `told` instead: of where it will lie.
fn installed(root: &Path, library: &Path, prefix: &Path, told: &str) -> Result<()> {
    if prefix.exists() {
        fs::remove_dir_all(prefix).with_context(|| format!("removing {}", prefix.display()))?;
    }
    checked(Command::new(root.join("scripts/install-library")).arg("--library").arg(library).arg(prefix))?;
    let described = prefix.join("lib/pkgconfig/llama_pajamas.pc");
    let text = fs::read_to_string(&described).with_context(|| format!("reading {}", described.display()))?;
    let place = format!("prefix={told}");
    let lines = text.lines().map(|line| if line.starts_with("prefix=") { place.as_str() } else { line });
    fs::write(&described, lines.collect::<Vec<_>>().join("\n") + "\n")?;
    let licenses = prefix.join("share/doc/llama-pajamas");
    fs::create_dir_all(&licenses)?;
    for name in ["LICENSE-MIT", "LICENSE-APACHE"] {
        fs::copy(root.join(name), licenses.join(name)).with_context(|| format!("copying {name}"))?;
    }
    Ok(())
}

/// The library that goes into a package.
fn built(root: &Path, features: &str, library: Option<&Path>) -> Result<PathBuf> {
    if let Some(library) = library {
        return library.canonicalize().with_context(|| format!("finding {}", library.display()));
    }
    let output = Command::new(root.join("scripts/build-library"))
        .args(["--features", features])
        .current_dir(root)
        .output()
        .context("running scripts/build-library")?;
    ensure!(output.status.success(), "scripts/build-library: {}", String::from_utf8_lossy(&output.stderr));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let path = told.split(": ").next().context("scripts/build-library says nothing")?;
    root.join(path).canonicalize().with_context(|| format!("finding {path}"))
}

/// The glibc that an ELF library needs; empty for others.
fn glibc(root: &Path, library: &Path) -> Result<String> {
    if machine(library).is_err() {
        return Ok(String::new());
    }
    let mut check = Command::new(root.join("scripts/check-library"));
    let output = check.arg(library).args(["--uniffi", "--jni", "--test-hooks"]).output()?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "scripts/check-library: {}", String::from_utf8_lossy(&output.stderr));
    let version = if told.contains("packed relocations: 2.36") {
        Some("2.36")
    } else {
        told.split("glibc ").nth(1).and_then(|rest| rest.split_whitespace().next())
    };
    Ok(version.context("scripts/check-library tells no glibc")?.to_owned())
}

/// What an ELF library is for, as `linux-x86_64`.
fn machine(library: &Path) -> Result<&'static str> {
    let bytes = fs::read(library).with_context(|| format!("reading {}", library.display()))?;
    match bytes.get(..20) {
        Some(head) if head.starts_with(b"\x7fELF") && head[18] == 62 => Ok("linux-x86_64"),
        Some(head) if head.starts_with(b"\x7fELF") && head[18] == 183 => Ok("linux-aarch64"),
        _ => bail!("{}: expected an ELF library for x86-64 or aarch64", library.display()),
    }
}

fn folder(root: &Path) -> Result<PathBuf> {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |path| root.join(path));
    let folder = target.join("package");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder)
}

fn checked(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("running {}", command.get_program().display()))?;
    ensure!(
        output.status.success(),
        "{}: {}",
        command.get_program().display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
