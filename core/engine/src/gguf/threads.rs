//! The thread pool of a context.
//!
//! Owns: [`ThreadPool`], made once per context and kept, so that decodes start no threads. May
//! know: ggml's pool functions, which live in the CPU backend and are found by name. Must not know:
//! how many threads are wise.

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

/// Threads that wait for work. The thread that decodes is one of the count.
pub(super) struct ThreadPool {
    pool: NonNull<ggml_threadpool>,
    free: Free,
    n_threads: u32,
}

// SAFETY: the pool is used by one decode at a time, and its functions may be called from any thread.
unsafe impl Send for ThreadPool {}

impl ThreadPool {
    pub(super) fn new(functions: PoolFunctions, n_threads: u32, poll_percent: u32) -> Result<Self, Error> {
        let count = c_int::try_from(n_threads).expect("at most MAX_THREADS");
        // SAFETY: a plain function on numbers.
        let mut parameters = unsafe { ggml_threadpool_params_default(count) };
        parameters.prio = GGML_SCHED_PRIO_NORMAL;
        parameters.poll = poll_percent;
        parameters.strict_cpu = false;
        parameters.paused = false;
        // SAFETY: the parameters are valid for the call, which copies them.
        let pool = unsafe { (functions.new)(&raw mut parameters) };
        let pool = NonNull::new(pool)
            .ok_or_else(|| Error::Context { reason: format!("no thread pool of {n_threads} threads") })?;
        Ok(Self { pool, free: functions.free, n_threads })
    }

    pub(super) fn as_ptr(&self) -> *mut ggml_threadpool {
        self.pool.as_ptr()
    }

    pub(super) fn n_threads(&self) -> u32 {
        self.n_threads
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        // SAFETY: the pool came from `new` of the same backend, and the context that used it is gone.
        unsafe { (self.free)(self.pool.as_ptr()) };
    }
}
