//! Several engines as one: each file goes to the engine that loads its kind.
//!
//! Owns: [`Several`]. May know: the engine trait. Must not know: which engines exist.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use crate::{DeviceInfo, DryModel, Engine, Error, LoadSettings, Model};

/// One engine, and others for files of their own kinds.
pub struct Several {
    main: Arc<dyn Engine>,
    others: Vec<Arc<dyn Engine>>,
}

impl Several {
    /// `main`, which gives its name and its devices, and others that are asked before it.
    #[must_use]
    pub fn new(main: Arc<dyn Engine>, others: Vec<Arc<dyn Engine>>) -> Self {
        Self { main, others }
    }

    fn of(&self, path: &Path) -> &dyn Engine {
        self.others.iter().find(|engine| engine.loads(path)).unwrap_or(&self.main).as_ref()
    }
}

impl Engine for Several {
    fn name(&self) -> &'static str {
        self.main.name()
    }

    fn loads(&self, path: &Path) -> bool {
        self.of(path).loads(path)
    }

    fn build(&self) -> String {
        let builds: Vec<String> =
            std::iter::once(&self.main).chain(&self.others).map(|engine| engine.build()).collect();
        builds.join("; ")
    }

    fn devices(&self) -> Vec<DeviceInfo> {
        self.main.devices()
    }

    fn load(
        &self,
        path: &Path,
        settings: &LoadSettings,
        progress: &mut dyn FnMut(f32) -> ControlFlow<()>,
    ) -> Result<Arc<dyn Model>, Error> {
        self.of(path).load(path, settings, progress)
    }

    fn has_dry_run(&self) -> bool {
        std::iter::once(&self.main).chain(&self.others).all(|engine| engine.has_dry_run())
    }

    fn dry_load(&self, path: &Path, settings: &LoadSettings) -> Result<Arc<dyn DryModel>, Error> {
        self.of(path).dry_load(path, settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loads nothing, and says by which name it was asked.
    struct Named(&'static str);

    impl Engine for Named {
        fn name(&self) -> &'static str {
            self.0
        }

        fn loads(&self, path: &Path) -> bool {
            path.extension().is_some_and(|kind| kind == self.0)
        }

        fn devices(&self) -> Vec<DeviceInfo> {
            Vec::new()
        }

        fn load(
            &self,
            path: &Path,
            _settings: &LoadSettings,
            _progress: &mut dyn FnMut(f32) -> ControlFlow<()>,
        ) -> Result<Arc<dyn Model>, Error> {
            Err(Error::Load { path: path.to_owned(), reason: self.0.into() })
        }
    }

    #[test]
    fn each_file_goes_to_the_engine_of_its_kind() {
        let both = Several::new(Arc::new(Named("gguf")), vec![Arc::new(Named("onnx"))]);
        for (path, name) in [("model.onnx", "onnx"), ("model.gguf", "gguf"), ("model", "gguf")] {
            let loaded =
                both.load(Path::new(path), &LoadSettings::default(), &mut |_| ControlFlow::Continue(()));
            let error = loaded.err().expect("neither loads anything").to_string();
            assert_eq!(error, format!("cannot load {path}: {name}"));
        }
        assert_eq!((both.build(), both.name()), ("gguf; onnx".to_string(), "gguf"));
        assert!(both.loads(Path::new("a.onnx")) && !both.loads(Path::new("a.mlx")) && !both.has_dry_run());
    }
}
