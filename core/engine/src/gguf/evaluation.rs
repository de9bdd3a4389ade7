//! What llama.cpp asks around every operation of a context.
//!
//! Owns: [`Evaluation`], which passes the questions on to who watches and to who pages experts. May know: nodes. Must not
//! know: what either does with them.

use std::any::Any;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use llama_cpp_sys_2::ggml_tensor;

use super::paging::ExpertPages;
use super::watch::Watcher;
use crate::Watch;

/// Lives behind a pointer of the native context, so it never moves.
pub(super) struct Evaluation {
    watcher: Option<Watcher>,
    pages: Option<Arc<ExpertPages>>,
    panic: Option<Box<dyn Any + Send>>,
}

impl Evaluation {
    /// `None` where nobody wants to be asked: contexts without one compute whole graphs at a time.
    pub(super) fn of(watch: Option<Box<dyn Watch>>, pages: Option<Arc<ExpertPages>>) -> Option<Box<Self>> {
        let is_needed = watch.is_some() || pages.is_some();
        let watcher = watch.map(Watcher::new);
        is_needed.then(|| Box::new(Self { watcher, pages, panic: None }))
    }

    /// Goes on with a panic of the watch, which was kept out of C++.
    pub(super) fn resume(&mut self) {
        if let Some(panic) = self.panic.take() {
            resume_unwind(panic);
        }
    }

    /// llama.cpp's question: before an operation whether it is to be shown, after it whether to go on.
    pub(super) unsafe extern "C" fn receive(
        node: *mut ggml_tensor,
        ask: bool,
        evaluation: *mut c_void,
    ) -> bool {
        // SAFETY: `open` passes the value of the context, which outlives the native context, and one thread computes.
        let evaluation = unsafe { &mut *evaluation.cast::<Evaluation>() };
        // SAFETY: llama.cpp passes a node of the graph that it computes.
        let node = unsafe { &*node };
        if evaluation.panic.is_some() {
            return !ask;
        }
        match catch_unwind(AssertUnwindSafe(|| evaluation.answer(node, ask))) {
            Ok(answer) => answer,
            Err(panic) => {
                evaluation.panic = Some(panic);
                !ask
            }
        }
    }

    fn answer(&mut self, node: &ggml_tensor, ask: bool) -> bool {
        let (watcher, pages) = (self.watcher.as_mut(), self.pages.as_ref());
        if ask {
            // Both are asked: each keeps count of what it is asked.
            let watched = watcher.is_some_and(|watcher| watcher.wants(node));
            return pages.is_some_and(|pages| pages.wants(node)) || watched;
        }
        if let Some(watcher) = watcher {
            watcher.show(node);
        }
        if let Some(pages) = pages {
            pages.computed(node);
        }
        true
    }
}
