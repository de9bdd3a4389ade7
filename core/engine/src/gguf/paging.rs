//! Experts that stay in the file until a token chooses them.
//!
//! Owns: [`ExpertPages`]: where a model's stacks of experts are mapped, and advice to the system about their pages. May know:
//! names of weights and of the nodes that choose experts. Must not know: which experts are worth keeping (`residency`).
//!
//! A file is mapped and not read. What every token needs is read by the load; of a stack of experts, each matrix is read when a
//! layer's router has chosen it: all of a layer's at once, so that the storage works on them together and while the first
//! are multiplied with. Where the cap is reached others are given back. Results are those of a model that lies in memory.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_void};
use std::ops::ControlFlow;
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

use formats::gguf::layer_of;
use llama_cpp_sys_2::{ggml_tensor, llama_model};

use super::nodes::{name_of, read_numbers};
use crate::residency::Residency;
use crate::{Error, LoadSettings, PagingStats};

/// What llama.cpp calls the numbers of the experts that a layer's router chose, before the layer's number.
const CHOSEN: &str = "ffn_moe_topk-";
/// How names of stacks of experts end.
const STACK: &str = "_exps.weight";
/// The product that a layer computes last.
const LAST: &str = "ffn_down";

/// Advice of `expert_pages.cpp`.
const READ_NOW: i32 = 0;
const READ_SOON: i32 = 1;
const LET_GO: i32 = 2;

type Visitor = unsafe extern "C" fn(*mut c_void, *const c_char, *mut c_void, usize, usize, bool);

unsafe extern "C" {
    fn llama_pajamas_prepare_sparse_maps();
    fn llama_pajamas_map_sparsely(on: bool);
    fn llama_pajamas_visit_weights(model: *const llama_model, visit: Visitor, data: *mut c_void) -> bool;
    fn llama_pajamas_can_page() -> bool;
    fn llama_pajamas_advise(at: *mut c_void, bytes: usize, advice: i32);
}

/// Makes [`mapped_sparsely`] possible. To be called once, when the CPU backend is registered.
pub(super) fn prepare() {
    // SAFETY: the caller holds the lock under which the engine starts.
    unsafe { llama_pajamas_prepare_sparse_maps() };
}

/// What `load` returns, which maps files without reading them.
pub(super) fn mapped_sparsely<R>(load: impl FnOnce() -> R) -> R {
    /// Also undone by a panic.
    struct Sparse;
    impl Drop for Sparse {
        fn drop(&mut self) {
            // SAFETY: sets a flag of this thread.
            unsafe { llama_pajamas_map_sparsely(false) };
        }
    }
    let _sparse = Sparse;
    // SAFETY: sets a flag of this thread.
    unsafe { llama_pajamas_map_sparsely(true) };
    load()
}

/// Whether experts can be paged with these settings.
pub(super) fn check(settings: &LoadSettings) -> Result<(), Error> {
    const NAME: &str = "expert_memory_bytes";
    // SAFETY: a plain function.
    if !unsafe { llama_pajamas_can_page() } {
        return Err(Error::setting(NAME, "set", "none on this system: paging needs Linux or Android"));
    }
    let others = [
        (!settings.mmap, "none, or `mmap`"),
        (settings.repack, "none, or no `repack`: rearranged weights are copies"),
        (settings.gpu_layers > 0 || settings.batches_on_gpus, "none, or no GPU"),
        (settings.check_tensors, "none, or no `check_tensors`, which reads everything"),
    ];
    match others.into_iter().find(|(is_wrong, _)| *is_wrong) {
        Some((_, expected)) => Err(Error::setting(NAME, "set", expected)),
        None => Ok(()),
    }
}

/// Bytes of a mapped file.
#[derive(Clone, Copy, Debug)]
struct Span {
    at: NonNull<c_void>,
    bytes: usize,
}

impl Span {
    fn advise(self, advice: i32) {
        // SAFETY: the span is mapped as long as the model lives, which owns this; advice changes no content.
        unsafe { llama_pajamas_advise(self.at.as_ptr(), self.bytes, advice) };
    }
}

/// A stack of matrices, one for each expert.
#[derive(Debug)]
struct Stack {
    all: Span,
    n_experts: usize,
    is_last: bool,
}

impl Stack {
    fn matrix_bytes(&self) -> usize {
        self.all.bytes / self.n_experts.max(1)
    }

    fn matrix(&self, expert: usize) -> Option<Span> {
        let bytes = self.matrix_bytes();
        // SAFETY: the offset of an expert that exists lies within the stack.
        (expert < self.n_experts).then(|| Span { at: unsafe { self.all.at.byte_add(expert * bytes) }, bytes })
    }
}

/// A model's weights as they lie in its mapped file.
pub(super) struct Mapped {
    dense: Vec<Span>,
    /// By number of the layer.
    stacks: BTreeMap<u32, Vec<Stack>>,
}

impl Mapped {
    /// Of a model that was loaded under [`mapped_sparsely`].
    ///
    /// # Safety
    /// The model is live.
    pub(super) unsafe fn of(model: NonNull<llama_model>) -> Self {
        let mut mapped = Self { dense: Vec::new(), stacks: BTreeMap::new() };
        // SAFETY: the model is live, and `mapped` outlives the call.
        unsafe {
            llama_pajamas_visit_weights(model.as_ptr(), Self::visit, std::ptr::from_mut(&mut mapped).cast())
        };
        for stacks in mapped.stacks.values_mut() {
            stacks.sort_by_key(|stack| stack.is_last);
        }
        mapped
    }

    unsafe extern "C" fn visit(
        mapped: *mut c_void,
        name: *const c_char,
        at: *mut c_void,
        bytes: usize,
        n_matrices: usize,
        is_host: bool,
    ) {
        // SAFETY: `of` passes its own value, and names end with NUL.
        let (mapped, name) = unsafe { (&mut *mapped.cast::<Self>(), CStr::from_ptr(name)) };
        let (name, Some(at)) = (name.to_string_lossy(), NonNull::new(at)) else { return };
        let span = Span { at, bytes };
        match layer_of(&name) {
            _ if !is_host => {}
            Some(layer) if n_matrices > 1 && name.ends_with(STACK) => {
                let stack = Stack { all: span, n_experts: n_matrices, is_last: name.contains(LAST) };
                mapped.stacks.entry(layer).or_default().push(stack);
            }
            _ => mapped.dense.push(span),
        }
    }

    /// Reads what every token needs.
    ///
    /// # Errors
    /// [`Error::Cancelled`] where `progress` breaks off.
    pub(super) fn read_dense(&self, progress: &mut dyn FnMut(f32) -> ControlFlow<()>) -> Result<(), Error> {
        let total: usize = self.dense.iter().map(|span| span.bytes).sum();
        let mut done = 0;
        for span in &self.dense {
            span.advise(READ_NOW);
            done += span.bytes;
            if progress(done as f32 / total.max(1) as f32).is_break() {
                return Err(Error::Cancelled);
            }
        }
        Ok(())
    }

    /// Pages its experts; `None` where it has none.
    ///
    /// # Errors
    /// [`Error::Setting`] where one layer's experts are more than the cap.
    pub(super) fn into_pages(self, cap_bytes: u64) -> Result<Option<ExpertPages>, Error> {
        let of_layer = |stacks: &Vec<Stack>| {
            let bytes: usize = stacks.iter().map(Stack::matrix_bytes).sum();
            (bytes as u64, stacks.iter().map(|stack| stack.n_experts).min().unwrap_or(0))
        };
        let residency = Residency::new(cap_bytes, self.stacks.values().map(of_layer));
        let least = residency.widest_layer_bytes();
        if least > cap_bytes {
            let expected = format!("at least {least}, the experts of one layer");
            return Err(Error::setting("expert_memory_bytes", cap_bytes, expected));
        }
        let (layers, stacks): (Vec<u32>, Vec<_>) = self.stacks.into_iter().unzip();
        let places = layers.into_iter().enumerate().map(|(place, layer)| (layer, place)).collect();
        let state = Mutex::new(State { residency, raw: Vec::new(), numbers: Vec::new() });
        Ok((!stacks.is_empty()).then_some(ExpertPages { stacks, places, state }))
    }
}

/// A model's stacks of experts, and which of the experts are held. The model owns it.
#[derive(Debug)]
pub(super) struct ExpertPages {
    stacks: Vec<Vec<Stack>>,
    /// Where among `stacks` a layer's are.
    places: BTreeMap<u32, usize>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    residency: Residency,
    raw: Vec<u8>,
    numbers: Vec<u32>,
}

// SAFETY: the addresses are of memory that is only read, and the system takes advice from any thread.
unsafe impl Send for ExpertPages {}
// SAFETY: as above; what changes is behind a lock.
unsafe impl Sync for ExpertPages {}

impl ExpertPages {
    pub(super) fn stats(&self) -> PagingStats {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).residency.stats()
    }

    /// Whether the node tells which experts a layer has chosen.
    pub(super) fn wants(&self, node: &ggml_tensor) -> bool {
        self.place_of(node).is_some()
    }

    fn place_of(&self, node: &ggml_tensor) -> Option<usize> {
        let layer = name_of(node).strip_prefix(CHOSEN)?.parse().ok()?;
        self.places.get(&layer).copied()
    }

    /// A node that was computed: if it tells which experts are chosen, these are read.
    pub(super) fn computed(&self, node: &ggml_tensor) {
        let Some(place) = self.place_of(node) else { return };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { residency, raw, numbers } = &mut *state;
        numbers.clear();
        // SAFETY: the node was just computed and lies in its buffer.
        unsafe { read_numbers(node, raw, numbers) };
        numbers.sort_unstable();
        numbers.dedup();
        let experts: Vec<usize> = numbers.iter().map(|number| *number as usize).collect();
        let change = residency.want(place, &experts);
        let matrices = |place: usize, expert: usize| {
            self.stacks[place].iter().filter_map(move |stack| stack.matrix(expert))
        };
        for (place, expert) in change.let_go {
            matrices(place, expert).for_each(|matrix| matrix.advise(LET_GO));
        }
        // The layer's first products first.
        for stack in &self.stacks[place] {
            let wanted = change.read.iter().filter_map(|expert| stack.matrix(*expert));
            wanted.for_each(|matrix| matrix.advise(READ_SOON));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_exclude_it_are_named() {
        let ok = LoadSettings { repack: false, expert_memory_bytes: Some(1), ..LoadSettings::default() };
        if cfg!(any(target_os = "linux", target_os = "android")) {
            check(&ok).expect("allowed");
        }
        let repacked = check(&LoadSettings { repack: true, ..ok.clone() }).expect_err("refused");
        assert!(repacked.to_string().contains("expert_memory_bytes"), "{repacked}");
        check(&LoadSettings { mmap: false, ..ok.clone() }).expect_err("refused");
        check(&LoadSettings { gpu_layers: 1, ..ok }).expect_err("refused");
    }
}
