//! The errors of requantizing: those of the parts it is made of.

/// Result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why no variant was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Opening, planning, loading, or the request.
    #[error(transparent)]
    Runtime(#[from] crate::Error),
    /// The bundle is broken, held by another writer, or cannot be written.
    #[error(transparent)]
    Bundle(#[from] bundle::Error),
    /// Rounding.
    #[error(transparent)]
    Quantizer(#[from] quantizer::Error),
    /// Holding it against its parent.
    #[error(transparent)]
    Evaluator(#[from] evaluator::Error),
}

impl Error {
    /// Whether the work was broken off.
    pub fn is_cancelled(&self) -> bool {
        matches!(
            self,
            Self::Runtime(crate::Error::Cancelled | crate::Error::Engine(engine::Error::Cancelled))
                | Self::Quantizer(quantizer::Error::Cancelled)
                | Self::Evaluator(evaluator::Error::Cancelled)
        )
    }
}
