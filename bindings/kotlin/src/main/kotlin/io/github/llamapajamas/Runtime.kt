// Opening, planning, loading.
package io.github.llamapajamas

/** Hears events during a call, on the thread of that call; returns whether to go on. What it throws comes out of the call. */
typealias Hear = (Event) -> Boolean

/**
 * An opened bundle or model file, of which nothing is loaded yet. Any number of threads may use it.
 *
 * Calls that fail throw [LlamaPajamasException.Failed] with its code, a line for developers and details as JSON. Objects that were
 * closed refuse calls with [ErrorCode.INVALID_ARGUMENT]; [close] may be called again.
 */
class Runtime private constructor(internal val raw: NativeRuntime) : AutoCloseable {
    companion object {
        /** Opens the bundle directory or GGUF file at [path]: reads its description, no weights. */
        fun open(path: String, options: RuntimeOptions = RuntimeOptions()): Runtime = Runtime(NativeRuntime.open(path, options))
    }

    /** What was opened, as JSON: "engine", "variants" and, of a bundle, its manifest as "bundle". */
    fun describe(): String = raw.describe()

    /** Chooses a variant and settings for this device and explains the choice. Reads no weights. */
    fun plan(options: PlanOptions = PlanOptions()): Plan = raw.plan(options)

    /** Plans and loads what is chosen; [ErrorCode.DOES_NOT_FIT] when nothing fits. Tells [Event.Loading]. Blocks: not for a main thread. */
    fun load(options: PlanOptions = PlanOptions(), cancel: CancelToken? = null, onEvent: Hear? = null): Model =
        Model(listened(onEvent) { raw.load(options, cancel, it) })

    /** The same on a thread for waiting; a coroutine that is cancelled meanwhile stops it. */
    suspend fun loadAsync(options: PlanOptions = PlanOptions(), onEvent: Hear? = null): Model =
        waiting { cancel -> load(options, cancel, onEvent) }

    /** Races settings of a model on this device and uses the best from now on. Tells [Event.Tuning]. What was found, as JSON. */
    fun tune(model: Model, options: TuneOptions = TuneOptions(), cancel: CancelToken? = null, onEvent: Hear? = null): String =
        listened(onEvent) { raw.tune(model.raw, options, cancel, it) }

    /** Makes a further variant of the opened bundle, for a thread of the app's own. Tells [Event.Requantizing]. The outcome as JSON. */
    fun requantize(options: RequantizeOptions, cancel: CancelToken? = null, onEvent: Hear? = null): String =
        listened(onEvent) { raw.requantize(options, cancel, it) }

    /** Closes it; calls that use it go on. */
    override fun close() = raw.release()
}

/** Compares every file of a bundle with its manifest; the first damage is thrown. Tells [Event.Transfer]. What was found, as JSON. */
fun verify(path: String, trustFolder: String? = null, cancel: CancelToken? = null, onEvent: Hear? = null): String =
    listened(onEvent) { verifyBundle(path, trustFolder, cancel, it) }

/** Fetches variants of a bundle into a folder, which stays what it was until every hash is right. Tells [Event.Transfer]. */
fun pull(
    manifestUrl: String,
    destination: String,
    options: PullOptions = PullOptions(),
    cancel: CancelToken? = null,
    onEvent: Hear? = null,
): String = listened(onEvent) { pullBundle(manifestUrl, destination, options, cancel, it) }

/** The same on a thread for waiting; a coroutine that is cancelled meanwhile stops it, and the next call goes on from there. */
suspend fun pullAsync(
    manifestUrl: String,
    destination: String,
    options: PullOptions = PullOptions(),
    onEvent: Hear? = null,
): String = waiting { cancel -> pull(manifestUrl, destination, options, cancel, onEvent) }

/**
 * Makes variants of a checkpoint's folder or a GGUF file and publishes them together in the bundle at [output]. Tells
 * [Event.Quantizing]. What was made, as JSON.
 */
fun quantize(
    model: String,
    output: String,
    options: QuantizeOptions = QuantizeOptions(),
    cancel: CancelToken? = null,
    onEvent: Hear? = null,
): String = listened(onEvent) { quantizeModel(model, output, options, cancel, it) }

/** The same on a thread for waiting; a coroutine that is cancelled meanwhile stops it. */
suspend fun quantizeAsync(
    model: String,
    output: String,
    options: QuantizeOptions = QuantizeOptions(),
    onEvent: Hear? = null,
): String = waiting { cancel -> quantize(model, output, options, cancel, onEvent) }
