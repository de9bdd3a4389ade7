// The conversation without its screen: what ChatScreen shows and what its buttons do. Knows nothing of Android, so that it compiles on
// any JVM.
package org.example.llamachat

import io.github.llamapajamas.ErrorCode
import io.github.llamapajamas.Event
import io.github.llamapajamas.GenerateOptions
import io.github.llamapajamas.LlamaPajamasException
import io.github.llamapajamas.Message
import io.github.llamapajamas.Model
import io.github.llamapajamas.PlanOptions
import io.github.llamapajamas.Runtime
import io.github.llamapajamas.RuntimeOptions
import io.github.llamapajamas.Session
import io.github.llamapajamas.SessionOptions
import io.github.llamapajamas.Signals
import io.github.llamapajamas.WhenFull
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.update
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext

sealed interface State {
    data object Closed : State
    data class Loading(val fraction: Double) : State
    data object Ready : State
    data object Answering : State
    data class Failed(val reason: String) : State
}

data class Line(val isMine: Boolean, val text: String)

/** A model and one conversation with it. Functions are called on the main thread; what blocks runs elsewhere. */
class Chat(private val scope: CoroutineScope) : AutoCloseable {
    private val told = MutableStateFlow<State>(State.Closed)
    private val said = MutableStateFlow(emptyList<Line>())
    private var model: Model? = null
    private var session: Session? = null
    private var answering: Job? = null

    val state: StateFlow<State> = told
    val lines: StateFlow<List<Line>> = said

    /** Opens the bundle or GGUF file at [path] for this device; [folder] keeps what is measured between starts. */
    suspend fun open(path: String, folder: String? = null) {
        told.value = State.Loading(0.0)
        try {
            withContext(Dispatchers.IO) { Runtime.open(path, RuntimeOptions(tuningFolder = folder)) }.use { runtime ->
                val loaded = runtime.loadAsync(PlanOptions(contextTokens = 2048uL)) { event ->
                    if (event is Event.Loading) told.value = State.Loading(event.fraction)
                    true
                }
                model = loaded
                session = loaded.session(SessionOptions(whenFull = WhenFull.SHIFT))
            }
            told.value = State.Ready
        } catch (failed: LlamaPajamasException.Failed) {
            val why = if (failed.code == ErrorCode.DOES_NOT_FIT) "This device has too little memory for the model: " else ""
            told.value = State.Failed(why + failed.reason)
        }
    }

    /** Asks, and shows the answer as it comes. */
    fun send(question: String) {
        val session = session ?: return
        if (told.value != State.Ready || question.isBlank()) return
        said.update { it + Line(true, question) }
        val messages = listOf(Message("system", "You are a friendly companion.")) +
            said.value.map { Message(if (it.isMine) "user" else "assistant", it.text) }
        said.update { it + Line(false, "") }
        told.value = State.Answering
        answering = scope.launch {
            try {
                // The coroutine's end is the answer's end: whoever cancels the one cancels the other.
                session.chatTexts(messages, GenerateOptions(maxTokens = 512u)).collect { piece ->
                    said.update { it.dropLast(1) + it.last().let { line -> line.copy(text = line.text + piece) } }
                }
                told.value = State.Ready
            } catch (cancelled: CancellationException) {
                told.value = State.Ready
                throw cancelled
            } catch (failed: LlamaPajamasException.Failed) {
                told.value = State.Failed(failed.reason)
            }
        }
    }

    /** The button that stops an answer. */
    fun stop() = answering?.cancel()

    /** The loaded model, for [io.github.llamapajamas] classes that report on the device. */
    fun loaded(): Model? = model

    /** Nobody sees the app: the answer stops, and what runs all the same uses fewer threads until [comeBack]. */
    suspend fun leave() {
        stop()
        answering?.join()
        model?.report(Signals(background = true))
    }

    /** The app is seen again. */
    fun comeBack() {
        model?.report(Signals(background = false))
    }

    /** Gives the memory back. */
    override fun close() {
        stop()
        session?.close()
        model?.close()
        session = null
        model = null
        told.value = State.Closed
    }
}
