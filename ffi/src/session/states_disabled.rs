//! Without the feature `states` sessions are neither saved nor copied: whoever asks is told.

use llama_pajamas::Session;

use crate::error::Failure;

fn refusal() -> Failure {
    Failure::unsupported("saving and copying sessions", "states")
}

pub(crate) fn save(_session: &mut Session) -> Result<Vec<u8>, Failure> {
    Err(refusal())
}

pub(crate) fn restore(_session: &mut Session, _bytes: &[u8]) -> Result<(), Failure> {
    Err(refusal())
}

pub(crate) fn fork(_session: &mut Session) -> Result<Session, Failure> {
    Err(refusal())
}
