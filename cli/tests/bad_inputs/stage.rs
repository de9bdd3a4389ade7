//! A place of its own for every row: copies of good inputs to spoil, the doors, and the listing that shows what is left.
//! Knows the repository's model and the command; must not know what is bad.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is below a place: relative path → kind, length and content.
pub(crate) type Listing = BTreeMap<String, String>;

/// Good inputs that rows copy: the repository's checkpoint, and a bundle made of it.
pub(crate) struct Base {
    model: PathBuf,
    directory: tempfile::TempDir,
}

impl Base {
    pub(crate) fn new() -> Self {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let base = Self {
            model: repository.join("models/pajama-stories-4m"),
            directory: tempfile::tempdir().unwrap(),
        };
        let output = Command::new(env!("CARGO_BIN_EXE_llama-pajamas"))
            .args(["quantize", &text(&base.model), "--output", &text(&base.bundle())])
            .args(["--precision", "Q8_0", "--threads", "2"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        base
    }

    fn bundle(&self) -> PathBuf {
        self.directory.path().join("pajama-stories-4m")
    }
}

/// One row's place.
pub(crate) struct Stage<'a> {
    base: &'a Base,
    directory: tempfile::TempDir,
}

impl<'a> Stage<'a> {
    pub(crate) fn new(base: &'a Base) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["home", "temporary"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        Self { base, directory }
    }

    /// A path in this place.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A path in this place, as an argument.
    pub(crate) fn text(&self, name: &str) -> String {
        text(&self.path(name))
    }

    /// Text without the parts that change from run to run.
    pub(crate) fn anonymous(&self, message: &str) -> String {
        message.replace(&text(self.directory.path()), "…")
    }

    /// A copy of the checkpoint, as `model/`.
    pub(crate) fn checkpoint(&self) -> PathBuf {
        self.copy(&self.base.model, "model")
    }

    /// A copy of the bundle with one Q8_0 variant, as `bundle/`.
    pub(crate) fn bundle(&self) -> PathBuf {
        self.copy(&self.base.bundle(), "bundle")
    }

    /// A copy of the Q8_0 file, as `name`.
    pub(crate) fn gguf(&self, name: &str) -> PathBuf {
        fs::copy(self.base.bundle().join("gguf/Q8_0/model.gguf"), self.path(name)).unwrap();
        self.path(name)
    }

    fn copy(&self, from: &Path, name: &str) -> PathBuf {
        copy_all(from, &self.path(name));
        self.path(name)
    }

    /// Everything in this place.
    pub(crate) fn listing(&self) -> Listing {
        let mut listing = Listing::new();
        list(self.directory.path(), self.directory.path(), &mut listing);
        listing
    }

    /// `quantize model/` to Q8_0, with further arguments.
    pub(crate) fn quantize(&self, more: &[&str]) -> Door {
        self.quantize_from("model", more)
    }

    /// `quantize` of something else in this place.
    pub(crate) fn quantize_from(&self, source: &str, more: &[&str]) -> Door {
        let (source, out) = (self.text(source), self.text("out"));
        let mut words = vec!["quantize", &source, "--threads", "2"];
        if !more.contains(&"--output") {
            words.extend(["--output", &out]);
        }
        if !more.contains(&"--precision") {
            words.extend(["--precision", "Q8_0"]);
        }
        words.extend(more);
        Door::command(&words)
    }

    /// `run` of something in this place.
    pub(crate) fn run(&self, model: &str, more: &[&str]) -> Door {
        let model = self.text(model);
        let mut words = vec!["run", &model, "--prompt", "Once", "--max-tokens", "2", "--threads", "2"];
        words.extend(more);
        Door::command(&words)
    }
}

/// A way into the product.
pub(crate) enum Door {
    /// The command with these arguments; through this shell script where there is one: `"$@"` is
    /// the command, `$PLACE` the path of `place/`.
    Command { words: Vec<String>, script: Option<&'static str> },
    /// The library: the error it gives.
    Library(Box<dyn FnOnce() -> String>),
}

impl Door {
    pub(crate) fn command(words: &[&str]) -> Self {
        Self::Command { words: words.iter().map(|word| word.to_string()).collect(), script: None }
    }

    pub(crate) fn library(call: impl FnOnce() -> String + 'static) -> Self {
        Self::Library(Box::new(call))
    }

    /// The same command through a shell script.
    pub(crate) fn through(self, script: &'static str) -> Self {
        match self {
            Self::Command { words, .. } => Self::Command { words, script: Some(script) },
            library => library,
        }
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Command { words, .. } if words[0] == "bundle" => words[1].clone(),
            Self::Command { words, .. } => words[0].clone(),
            Self::Library(_) => "library".into(),
        }
    }

    /// The one error, or what was wrong with the way it came.
    pub(crate) fn enter(self, stage: &Stage<'_>) -> Result<String, String> {
        let (words, script) = match self {
            Self::Library(call) => {
                let call = std::panic::AssertUnwindSafe(call);
                return std::panic::catch_unwind(call).map_err(|_| "panicked".to_string());
            }
            Self::Command { words, script } => (words, script),
        };
        let program = env!("CARGO_BIN_EXE_llama-pajamas");
        let mut command = match script {
            None => Command::new(program),
            Some(script) => {
                let mut command = Command::new("sh");
                command.args(["-c", script, "sh", program]);
                command
            }
        };
        for name in ["HF_TOKEN", "HF_ENDPOINT", "LLAMA_PAJAMAS_CACHE", "RUST_BACKTRACE"] {
            command.env_remove(name);
        }
        let home = stage.path("home");
        command.env("HOME", &home).env("XDG_CACHE_HOME", &home).env("TMPDIR", stage.path("temporary"));
        command.env("PLACE", stage.path("place"));
        let output = command.args(words).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let lines: Vec<&str> = stderr.lines().collect();
        match (output.status.code(), lines.as_slice()) {
            (Some(1), [line]) if line.starts_with("error: ") && !line.contains("panicked") => {
                Ok(line["error: ".len()..].to_string())
            }
            _ => Err(format!(
                "expected exit code 1 and one line on stderr, got {}\nstderr: {stderr}\nstdout: {}",
                output.status,
                String::from_utf8_lossy(&output.stdout)
            )),
        }
    }
}

pub(crate) fn text(path: &Path) -> String {
    path.to_str().unwrap().to_string()
}

/// Copies contents, not permissions: a read-only original stays spoilable.
pub(crate) fn copy_all(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs::write(target, fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

/// Changes a text file.
pub(crate) fn edit(path: &Path, change: impl Fn(&str) -> String) {
    let before = fs::read_to_string(path).unwrap();
    let after = change(&before);
    assert_ne!(before, after, "{}: nothing to change", path.display());
    fs::write(path, after).unwrap();
}

/// Changes a JSON file.
pub(crate) fn edit_json(path: &Path, change: impl Fn(&mut serde_json::Value)) {
    edit(path, |text| {
        let mut json = serde_json::from_str(text).unwrap();
        change(&mut json);
        json.to_string()
    });
}

fn list(root: &Path, directory: &Path, listing: &mut Listing) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        let entry = if metadata.is_symlink() {
            format!("link to {}", fs::read_link(&path).unwrap().display())
        } else if metadata.is_dir() {
            list(root, &path, listing);
            "directory".into()
        } else {
            let mut hasher = DefaultHasher::new();
            fs::read(&path).unwrap().hash(&mut hasher);
            format!("{} bytes, {:016x}", metadata.len(), hasher.finish())
        };
        listing.insert(text(path.strip_prefix(root).unwrap()), entry);
    }
}
