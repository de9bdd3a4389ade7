// Ask.kt: one question, ten seconds at most. AskKt MODEL QUESTION
import io.github.llamapajamas.*
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeoutOrNull

fun main(words: Array<String>) = runBlocking {
    val (path, question) = words
    val wish = PlanOptions(memoryCapBytes = 2uL shl 30) // the app needs the rest
    try {
        Runtime.open(path).use { runtime ->
            runtime.loadAsync(wish) { event -> if (event is Event.Loading) print("\rloading ${(100 * event.fraction).toInt()} %"); true }.use { model ->
                model.session().use { session ->
                    val messages = listOf(Message("system", "Answer in one sentence."), Message("user", question))
                    println()
                    // The answer is cancelled with the coroutine that collects it, and the session is free again.
                    withTimeoutOrNull(10_000) {
                        session.chatTexts(messages, GenerateOptions(maxTokens = 40u)).collect { piece -> print(piece) }
                    }
                    println("\n(done)")
                }
            }
        }
    } catch (failed: LlamaPajamasException.Failed) {
        println("${failed.code}: ${failed.reason}")
    }
}
