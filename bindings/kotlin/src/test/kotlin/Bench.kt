// What a token costs in Kotlin: `BenchKt MODEL TOKENS ROUNDS [stream|flow]`. Prints, per round, CPU microseconds per token.
// `BenchKt MODEL first`: seconds from the start of the process to the first token.
import io.github.llamapajamas.*
import java.lang.management.ManagementFactory
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.runBlocking

private fun cpuNs() = (ManagementFactory.getOperatingSystemMXBean() as com.sun.management.OperatingSystemMXBean).processCpuTime

fun main(words: Array<String>) {
    val way = words.getOrElse(3) { "callback" }
    Runtime.open(words[0]).use { runtime ->
        runtime.load(PlanOptions(contextTokens = 2048u, nThreads = 1u)).use { model ->
            model.session().use { session ->
                if (words[1] == "first") {
                    runBlocking { session.texts("Once upon a time", GenerateOptions(maxTokens = 4u, temperature = 0f)).first() }
                    println("%.2f".format((System.currentTimeMillis() - ManagementFactory.getRuntimeMXBean().startTime) / 1000.0))
                    return
                }
                val options = GenerateOptions(maxTokens = words[1].toUInt(), temperature = 0f, ignoreEndOfTurn = true)
                repeat(words[2].toInt()) {
                    var tokens = 0
                    val text = StringBuilder()
                    fun hear(event: Event) {
                        if (event is Event.Token) tokens++
                        if (event is Event.Text) text.append(event.text)
                    }
                    val before = cpuNs()
                    when (way) {
                        "callback" -> session.generate("Once upon a time", options) { event -> hear(event); true }
                        "stream" -> session.stream("Once upon a time", options).use { stream -> stream.forEach(::hear) }
                        else -> runBlocking { session.events("Once upon a time", options).collect { hear(it) } }
                    }
                    println("%.3f".format((cpuNs() - before) / 1000.0 / tokens))
                }
            }
        }
    }
}
