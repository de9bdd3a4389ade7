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
    Quantizer(Box<quantizer::Error>),
    /// Holding it against its parent.
    #[error(transparent)]
    Evaluator(#[from] evaluator::Error),
}

impl Error {
    /// Whether the work was broken off.
    pub fn is_cancelled(&self) -> bool {
        match self {
            Self::Runtime(error) => {
                matches!(error, crate::Error::Cancelled | crate::Error::Engine(engine::Error::Cancelled))
            }
            Self::Quantizer(error) => matches!(**error, quantizer::Error::Cancelled),
            Self::Evaluator(error) => matches!(error, evaluator::Error::Cancelled),
            Self::Bundle(_) => false,
        }
    }
}

impl From<quantizer::Error> for Error {
    fn from(error: quantizer::Error) -> Self {
        Self::Quantizer(Box::new(error))
    }
}
