// Loaded models, and what is opened of them.
package io.github.llamapajamas

/** Loaded weights with their tokenizer. Any number of threads may use it. */
class Model internal constructor(internal val raw: NativeModel) : AutoCloseable {
    /** What was loaded and how, as JSON: "choice", "memory", "engine", "n_vocab", "is_decoder", … */
    fun describe(): String = raw.describe()

    /** Tokens of [text]; [addSpecial] adds what the model wants around a text, as a generation does. */
    fun tokenize(text: String, addSpecial: Boolean = true): List<Int> = raw.tokenize(text, addSpecial)

    /** Text of [tokens], without control tokens and those that are not in the vocabulary. */
    fun detokenize(tokens: List<Int>): String = raw.detokenize(tokens)

    /** Opens a session with an empty text and a context of its own. */
    fun session(options: SessionOptions = SessionOptions()): Session = Session(raw.session(options))

    /** Loads an adapter from a GGUF file, for [AdapterUse]; `release()` frees it. */
    fun loadAdapter(path: String): Adapter = raw.loadAdapter(path)

    /** Opens an embedder. */
    fun embedder(options: EmbedOptions = EmbedOptions()): Embedder = Embedder(raw.embedder(options))

    /** Tells what the app knows of the device and the library cannot see; what the model does about it, as JSON. */
    fun report(signals: Signals = Signals()): List<String> = raw.report(signals)

    /** Reads the device's signals on a thread of its own; [onChange] runs on that thread, with JSON. */
    fun watch(everyMs: UInt = 2000u, onChange: ((String) -> Unit)? = null): Watch {
        val ear = onChange?.let { tell ->
            object : Listener {
                override fun onEvent(event: Event): Boolean {
                    runCatching { if (event is Event.Change) tell(event.json) }
                    return true
                }
            }
        }
        return Watch(raw.watch(everyMs, ear))
    }

    /** Closes it; its weights leave memory with the last session, embedder, adapter or watch of it. */
    override fun close() = raw.release()
}

/** Turns texts into vectors. Threads that share one wait for each other. */
class Embedder internal constructor(private val raw: NativeEmbedder) : AutoCloseable {
    /** The vector of [text]. */
    fun embed(text: String, cancel: CancelToken? = null): List<Float> = raw.embed(text, cancel)

    override fun close() = raw.release()
}

/** Reads the device's signals for one model until it is closed, which is not to be done by its callback. */
class Watch internal constructor(private val raw: NativeWatch) : AutoCloseable {
    override fun close() = raw.release()
}
