// Tell.kt: goes on with a text. TellKt MODEL TEXT
import io.github.llamapajamas.*
import kotlinx.coroutines.runBlocking

fun main(words: Array<String>) = runBlocking {
    val (path, text) = words
    Runtime.open(path).use { runtime ->
        runtime.loadAsync().use { model ->
            model.session().use { session ->
                session.texts(text, GenerateOptions(maxTokens = 40u, seed = 1u)).collect { piece -> print(piece) }
                println()
            }
        }
    }
}
