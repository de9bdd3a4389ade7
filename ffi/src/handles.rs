//! Objects behind handles: a handle is a number in the shape of a pointer, never an address.
//!
//! Owns the table of live objects. A handle that was freed, or is of another kind, is refused instead of being followed, numbers are
//! not used twice, and a call keeps its objects until it returns, whoever frees them meanwhile. May know: failures. Must not know:
//! what the objects are.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use crate::error::Failure;

/// A type of handle and what lies behind it.
pub(crate) trait Handle {
    /// The object.
    type Object: Any + Send + Sync;
    /// What messages call it.
    const NAME: &'static str;
}

type Table = HashMap<usize, Arc<dyn Any + Send + Sync>>;

static OBJECTS: LazyLock<RwLock<Table>> = LazyLock::new(RwLock::default);
/// Far from null, so that a handle is not taken for a small offset.
static NEXT: AtomicUsize = AtomicUsize::new(1 << 16);
/// Numbers are as far apart as addresses of objects would be.
const STRIDE: usize = 16;

/// A handle for `object`.
pub(crate) fn insert<H: Handle>(object: H::Object) -> *mut H {
    insert_any(Arc::new(object)).cast()
}

/// The object behind `handle`, alive as long as the result.
pub(crate) fn get<H: Handle>(handle: *const H) -> Result<Arc<H::Object>, Failure> {
    find(handle.addr(), H::NAME)?.downcast().map_err(|_| gone(H::NAME))
}

/// Takes the object out of the table; `None` where it is not there or of another kind. It is dropped outside the lock, by whoever
/// holds it last.
pub(crate) fn remove<H: Handle>(handle: *const H) -> Option<Arc<H::Object>> {
    take(handle.addr(), TypeId::of::<H::Object>())?.downcast().ok()
}

fn insert_any(object: Arc<dyn Any + Send + Sync>) -> *mut () {
    let number = NEXT.fetch_add(STRIDE, Ordering::Relaxed);
    OBJECTS.write().unwrap_or_else(PoisonError::into_inner).insert(number, object);
    std::ptr::without_provenance_mut(number)
}

fn find(number: usize, name: &str) -> Result<Arc<dyn Any + Send + Sync>, Failure> {
    if number == 0 {
        return Err(Failure::invalid(format!("{name} is null")));
    }
    let objects = OBJECTS.read().unwrap_or_else(PoisonError::into_inner);
    objects.get(&number).cloned().ok_or_else(|| gone(name))
}

fn gone(name: &str) -> Failure {
    Failure::invalid(format!("{name} is no live object: it was freed, or is of another kind"))
}

fn take(number: usize, kind: TypeId) -> Option<Arc<dyn Any + Send + Sync>> {
    let mut objects = OBJECTS.write().unwrap_or_else(PoisonError::into_inner);
    objects.get(&number).filter(|object| (***object).type_id() == kind)?;
    objects.remove(&number)
}

/// Objects that are alive.
pub(crate) fn count() -> usize {
    OBJECTS.read().unwrap_or_else(PoisonError::into_inner).len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    enum Word {}
    #[derive(Debug)]
    enum Number {}

    impl Handle for Word {
        type Object = String;
        const NAME: &'static str = "word";
    }

    impl Handle for Number {
        type Object = u64;
        const NAME: &'static str = "number";
    }

    #[test]
    fn freed_and_foreign_handles_are_refused_and_numbers_are_not_used_twice() {
        let word = insert::<Word>("one".into());
        assert_eq!(*get(word).expect("alive"), "one");
        let foreign = word.cast::<Number>();
        assert!(get(foreign).is_err() && remove(foreign).is_none());
        let kept = get(word).expect("alive");
        assert!(remove(word).is_some() && remove(word).is_none());
        assert_eq!(*kept, "one");
        let message = get(word).expect_err("freed").message().to_owned();
        assert_eq!(message, "word is no live object: it was freed, or is of another kind");
        assert_ne!(insert::<Word>("two".into()), word);
        assert_eq!(get::<Word>(std::ptr::null()).expect_err("null").message(), "word is null");
    }
}
