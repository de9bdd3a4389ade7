// Callables as the library's listeners, and calls that coroutines wait for.
package io.github.llamapajamas

import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.suspendCancellableCoroutine
import kotlinx.coroutines.withContext

private class Ear(private val hear: Hear) : Listener {
    @Volatile var thrown: Throwable? = null

    override fun onEvent(event: Event): Boolean {
        if (thrown != null) return false
        return try {
            hear(event)
        } catch (problem: Throwable) { // it comes out of the call
            thrown = problem
            false
        }
    }
}

internal fun <T> listened(hear: Hear?, call: (Listener?) -> T): T {
    if (hear == null) return call(null)
    val ear = Ear(hear)
    val result = runCatching { call(ear) }
    ear.thrown?.let { throw it }
    return result.getOrThrow()
}

/** Runs [call] on a thread for waiting; [stop] runs at once where the coroutine is cancelled meanwhile, and makes it return. */
internal suspend fun <T> waiting(stop: () -> Unit, call: () -> T): T = withContext(Dispatchers.IO) {
    suspendCancellableCoroutine { continuation ->
        continuation.invokeOnCancellation { stop() }
        continuation.resumeWith(runCatching(call))
    }
}

/** The same for calls that a token stops. */
internal suspend fun <T> waiting(call: (CancelToken) -> T): T {
    val cancel = CancelToken()
    return try {
        waiting(cancel::cancel) { call(cancel) }
    } catch (failed: LlamaPajamasException.Failed) {
        throw if (failed.code == ErrorCode.CANCELLED) CancellationException(failed.reason) else failed
    }
}
