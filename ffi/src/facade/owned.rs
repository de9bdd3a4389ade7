//! Handles that free themselves.
//!
//! Owns: the way from an object of another language to the table of handles. Must not know: what the objects are.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::error::Failure;
use crate::guard::freeing;
use crate::handles::{self, Handle};

/// An object in the table of handles, which leaves it when this is closed or dropped.
pub(crate) struct Owned<H: Handle>(usize, PhantomData<fn(H)>);

impl<H: Handle> Owned<H> {
    pub(crate) fn new(object: H::Object) -> Self {
        Self(handles::insert::<H>(object).addr(), PhantomData)
    }

    /// The object, alive as long as the result; refused after [`Owned::close`].
    pub(crate) fn get(&self) -> Result<Arc<H::Object>, Failure> {
        handles::get(self.handle())
    }

    /// What C calls it.
    pub(crate) fn handle(&self) -> *const H {
        std::ptr::without_provenance(self.0)
    }

    /// Takes the object out of the table; `None` where it is out already.
    pub(crate) fn take(&self) -> Option<Arc<H::Object>> {
        handles::remove(self.handle())
    }

    /// Frees the object, once calls that use it have returned.
    pub(crate) fn close(&self) {
        freeing(|| drop(self.take()));
    }
}

impl<H: Handle> Drop for Owned<H> {
    fn drop(&mut self) {
        self.close();
    }
}
