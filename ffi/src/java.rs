//! The entry for Java's virtual machine: what an Android app knows of its device, and the library cannot ask by itself.
//!
//! Owns: the machine, the app's source of facts, and the calls to it. May know: the shape of the interface `DeviceSource` of
//! `bindings/kotlin`. Must not know: Android's classes, which its implementation there asks.

use std::ffi::c_void;
use std::sync::{Mutex, OnceLock, PoisonError};

use jni::objects::{GlobalRef, JClass, JObject};
use jni::sys::{JNI_VERSION_1_6, jint};
use jni::{JNIEnv, JavaVM};
use llama_pajamas::hardware::{Level, PowerSource, Supplied};

/// The process's only virtual machine.
static MACHINE: OnceLock<JavaVM> = OnceLock::new();
static SOURCE: Mutex<Option<GlobalRef>> = Mutex::new(None);

/// Called by the virtual machine when it loads the library.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the name is Java's")]
pub(crate) extern "system" fn JNI_OnLoad(machine: JavaVM, _reserved: *mut c_void) -> jint {
    // A second load is by the same machine.
    let _ = MACHINE.set(machine);
    JNI_VERSION_1_6
}

/// `Device.attach(source)` in Kotlin: whom to ask from now on; null: nobody.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the name is Java's")]
pub(crate) extern "system" fn Java_io_github_llamapajamas_Device_attach<'local>(
    env: JNIEnv<'local>,
    _class: JClass<'local>,
    source: JObject<'local>,
) {
    let kept = if source.is_null() { None } else { env.new_global_ref(source).ok() };
    let before = std::mem::replace(&mut *SOURCE.lock().unwrap_or_else(PoisonError::into_inner), kept);
    // What Java has to forget is forgotten without the lock.
    drop(before);
}

/// What the app knows of its device, asked now.
pub(crate) fn supplied() -> Supplied {
    let source = SOURCE.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let (Some(machine), Some(source)) = (MACHINE.get(), source) else { return Supplied::default() };
    // A thread of the library's own belongs to the machine as long as it asks.
    let Ok(mut env) = machine.attach_current_thread() else { return Supplied::default() };
    let mut ask = |name| known(&mut env, &source, name);
    Supplied {
        available_memory_bytes: ask("availableMemoryBytes"),
        memory_level: ask("memoryLevel").map(|level| level_of(level, 1, 2)),
        // Android's scale: none, light, moderate, severe, critical, emergency, shutdown.
        thermal_level: ask("thermalStatus").map(|status| level_of(status, 2, 4)),
        power_source: ask("powerSource").map(|source| match source {
            0 => PowerSource::Mains,
            _ => PowerSource::Battery,
        }),
        power_saver: ask("powerSaver").map(|saves| saves != 0),
        ..Supplied::default()
    }
}

fn level_of(number: u64, warning: u64, critical: u64) -> Level {
    match number {
        _ if number >= critical => Level::Critical,
        _ if number >= warning => Level::Warning,
        _ => Level::Normal,
    }
}

/// The answer of a method without parameters; `None` where it is below 0 or the method throws.
fn known(env: &mut JNIEnv<'_>, source: &GlobalRef, name: &str) -> Option<u64> {
    match env.call_method(source, name, "()J", &[]).and_then(|value| value.j()) {
        Ok(value) => u64::try_from(value).ok(),
        Err(error) => {
            tracing::warn!("DeviceSource.{name}: {error}");
            // What it threw would be thrown again by whatever Java does next.
            let _ = env.exception_clear();
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn androids_scale_of_heat_has_three_steps_here() {
        let told = [0, 1, 2, 3, 4, 6].map(|status| level_of(status, 2, 4));
        let wanted =
            [Level::Normal, Level::Normal, Level::Warning, Level::Warning, Level::Critical, Level::Critical];
        assert_eq!(told, wanted);
    }

    #[test]
    fn nobody_is_asked_without_a_machine() {
        assert_eq!(supplied(), Supplied::default());
    }
}
