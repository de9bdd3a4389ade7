// Chat.kt: a conversation on a terminal. Ctrl-C stops an answer, the end of the input the program. ChatKt MODEL
import io.github.llamapajamas.*
import kotlinx.coroutines.Job
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import sun.misc.Signal

@Volatile private var answering: Job? = null

fun main(words: Array<String>) = runBlocking {
    Signal.handle(Signal("INT")) { answering?.cancel() }
    val messages = mutableListOf(Message("system", "You are a friendly companion. Answer in a few sentences."))
    Runtime.open(words[0]).use { runtime ->
        runtime.loadAsync().use { model ->
            // A long conversation loses its older half.
            model.session(SessionOptions(whenFull = WhenFull.SHIFT)).use { session ->
                while (true) {
                    print("> ")
                    val line = readlnOrNull() ?: break
                    if (line.isEmpty()) continue
                    messages += Message("user", line)
                    val answer = StringBuilder()
                    // The whole conversation is handed in; what the session computed already is not computed again.
                    val job = launch {
                        session.chatTexts(messages.toList(), GenerateOptions(maxTokens = 256u)).collect { piece ->
                            answer.append(piece)
                            print(piece)
                        }
                    }
                    answering = job
                    job.join() // an answer that fails ends the program, one that is cancelled only itself
                    println()
                    messages += Message("assistant", answer.toString())
                }
            }
        }
    }
}
