//! The thread pools of a context.
//!
//! Owns: [`ThreadPools`], one pool per count of threads that was asked for, kept as long as the context, so that decodes
//! start no threads. May know: ggml's pool functions, which live in the CPU backend and are found by name. Must not know:
//! how many threads are wise.
//!
//! A thread of a pool that has no part in a graph polls for work as eagerly as one that waits for the next, so a pool
//! larger than the count in use takes processors from those that compute. Of several pools llama.cpp pauses those that it
//! turns away from, and their threads sleep.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_int, c_void};
use std::ptr::NonNull;

use llama_cpp_sys_2::{
    GGML_BACKEND_DEVICE_TYPE_CPU, GGML_SCHED_PRIO_NORMAL, ggml_backend_dev_backend_reg,
    ggml_backend_dev_by_type, ggml_backend_reg_get_proc_address, ggml_threadpool, ggml_threadpool_params,
    ggml_threadpool_params_default,
};

use crate::Error;

/// The greatest number of threads that ggml can use (`GGML_MAX_N_THREADS`).
pub(super) const MAX_THREADS: u32 = 512;

type New = unsafe extern "C" fn(*mut ggml_threadpool_params) -> *mut ggml_threadpool;
type Free = unsafe extern "C" fn(*mut ggml_threadpool);

/// The CPU backend's functions on thread pools.
#[derive(Clone, Copy, Debug)]
pub(super) struct PoolFunctions {
    new: New,
    free: Free,
}

impl PoolFunctions {
    /// Looks them up in the registered CPU backend.
    pub(super) fn find() -> Result<Self, Error> {
        let new = find_function(c"ggml_threadpool_new")?;
        let free = find_function(c"ggml_threadpool_free")?;
        // SAFETY: these are the signatures of the functions of these names in `ggml-cpu.h`.
        unsafe {
            Ok(Self {
                new: std::mem::transmute::<NonNull<c_void>, New>(new),
                free: std::mem::transmute::<NonNull<c_void>, Free>(free),
            })
        }
    }
}

fn find_function(name: &CStr) -> Result<NonNull<c_void>, Error> {
    // SAFETY: the registry is filled, and the CPU device was checked to be in it.
    let address = unsafe {
        let device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
        ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(device), name.as_ptr())
    };
    NonNull::new(address)
        .ok_or_else(|| Error::Start { reason: format!("the CPU backend has no {}", name.to_string_lossy()) })
}

/// Pools of a context.
pub(super) struct ThreadPools {
    functions: PoolFunctions,
    poll_percent: u32,
    by_count: BTreeMap<u32, ThreadPool>,
}

impl ThreadPools {
    pub(super) fn new(functions: PoolFunctions, poll_percent: u32) -> Self {
        Self { functions, poll_percent, by_count: BTreeMap::new() }
    }

    /// The pool of exactly `n_threads`, `1 ..= MAX_THREADS`, made where there is none yet. It lives as long as these pools:
    /// llama.cpp remembers the pool that it computed with last.
    pub(super) fn of(&mut self, n_threads: u32) -> Result<*mut ggml_threadpool, Error> {
        if let Some(pool) = self.by_count.get(&n_threads) {
            return Ok(pool.pool.as_ptr());
        }
        let pool = ThreadPool::new(self.functions, n_threads, self.poll_percent)?;
        Ok(self.by_count.entry(n_threads).or_insert(pool).pool.as_ptr())
    }
}

/// Threads that wait for work. The thread that decodes is one of the count.
struct ThreadPool {
    pool: NonNull<ggml_threadpool>,
    free: Free,
}

// SAFETY: the pool is used by one decode at a time, and its functions may be called from any thread.
unsafe impl Send for ThreadPool {}

impl ThreadPool {
    fn new(functions: PoolFunctions, n_threads: u32, poll_percent: u32) -> Result<Self, Error> {
        let count = c_int::try_from(n_threads).expect("at most MAX_THREADS");
        // SAFETY: a plain function on numbers.
        let mut parameters = unsafe { ggml_threadpool_params_default(count) };
        parameters.prio = GGML_SCHED_PRIO_NORMAL;
        parameters.poll = poll_percent;
        parameters.strict_cpu = false;
        // Its first graph wakes it.
        parameters.paused = true;
        // SAFETY: the parameters are valid for the call, which copies them.
        let pool = unsafe { (functions.new)(&raw mut parameters) };
        let pool = NonNull::new(pool)
            .ok_or_else(|| Error::Context { reason: format!("no thread pool of {n_threads} threads") })?;
        Ok(Self { pool, free: functions.free })
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        // SAFETY: the pool came from `new` of the same backend, and the context that used it is gone.
        unsafe { (self.free)(self.pool.as_ptr()) };
    }
}
