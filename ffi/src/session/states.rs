//! What sessions hold, as bytes and as copies.

use llama_pajamas::Session;

use crate::error::Failure;

pub(crate) fn save(session: &mut Session) -> Result<Vec<u8>, Failure> {
    Ok(session.save()?)
}

pub(crate) fn restore(session: &mut Session, bytes: &[u8]) -> Result<(), Failure> {
    Ok(session.restore(bytes)?)
}

pub(crate) fn fork(session: &mut Session) -> Result<Session, Failure> {
    Ok(session.fork()?)
}
