//! Without the feature `multimodal` there are no projectors.

use std::path::Path;
use std::sync::Arc;

use super::context::GgufContext;
use super::model::GgufModel;
use crate::{CancelToken, Error, Media, Projector, ProjectorSettings};

pub(super) fn open(
    _model: Arc<GgufModel>,
    path: &Path,
    _settings: &ProjectorSettings,
) -> Result<Arc<dyn Projector>, Error> {
    let reason = "pictures and sound need the feature `multimodal`".to_owned();
    Err(Error::Load { path: path.to_owned(), reason })
}

/// Where media would lie.
#[allow(dead_code, reason = "nothing is put there")]
pub(super) struct Place {
    pub(super) sequence: i32,
    pub(super) position: usize,
    pub(super) room: usize,
}

pub(super) fn decode(
    _context: &mut GgufContext,
    _media: &dyn Media,
    _place: &Place,
    _cancel: &CancelToken,
) -> Result<usize, Error> {
    Err(Error::Media {
        expected: "none: this build has not the feature `multimodal`".into(),
        got: "some".into(),
    })
}
