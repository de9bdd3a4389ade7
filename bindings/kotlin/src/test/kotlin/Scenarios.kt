// Runs the table of scenarios through the Kotlin library: `ScenariosKt TABLE FILES`, as every language's program does. Prints scenario,
// step and outcome of every line. What Kotlin's types do not let happen is told as the error that other languages get.
import io.github.llamapajamas.*
import java.io.File
import java.util.Locale
import java.util.concurrent.CountDownLatch
import java.util.concurrent.Executors
import kotlin.concurrent.thread
import kotlin.math.sqrt
import kotlin.system.exitProcess
import kotlinx.coroutines.Job
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.flow.collect
import kotlinx.coroutines.flow.takeWhile
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking

const val SAMPLE =
    "Once upon a time there was a little girl who lived in a small house near the forest. One day she went out " +
        "to play with her friend Tom. They ran and jumped and laughed in the sun. Then it was time to go home. Her " +
        "mum was happy to see her and gave her a big hug and a red apple. She ate it and went to bed."

/** What the types do not let happen. */
class Refused : Exception()

class Line(text: String) {
    private val cells = text.split('\t')
    val scenario = cells[0]
    val step = cells[1]
    val arguments = cells.drop(2).filterNot { it.startsWith("=> ") }
        .map { it.substringBefore('=') to it.substringAfter('=').replace("\\n", "\n") }

    fun all(name: String) = arguments.filter { it.first == name }.map { it.second }
    fun text(name: String) = all(name).firstOrNull()
    fun number(name: String, missing: Double = 0.0) = text(name)?.toDouble() ?: missing
    fun given(name: String) = number(name).toLong().takeIf { it != 0L }
    val prompt get() = (text("prompt") ?: throw Refused()).repeat(number("times", 1.0).toInt())
    val messages get() = arguments.filter { it.first in setOf("system", "user", "assistant") }.map { Message(it.first, it.second) }
}

class Heard {
    val text = StringBuilder()
    var tokens = 0
    private var logprobs = 0

    fun hear(event: Event) {
        when (event) {
            is Event.Token -> tokens++
            is Event.Text -> text.append(event.text)
            is Event.Logprobs -> logprobs++
            else -> {}
        }
    }

    fun answer(usage: Usage) = "stop=${reason(usage)} completion=${usage.completionTokens} prompt=${usage.promptTokens} " +
        "reused=${usage.reusedTokens}${if (logprobs > 0) " logprobs=$logprobs" else ""} text=${quoted(text)}"
}

fun reason(usage: Usage) = when (usage.stopReason) {
    StopReason.END_OF_TURN -> "end_of_turn"
    StopReason.STOP_TEXT -> "stop_text"
    StopReason.MAX_TOKENS -> "max_tokens"
    StopReason.CONTEXT -> "context"
    StopReason.CANCELLED -> "cancelled"
}

fun quoted(text: CharSequence) = "\"${text.toString().replace("\n", "\\n").replace("\t", "\\t").replace("\"", "\\\"")}\""

/** The text behind [key], behind [anchor], up to a quote, comma or brace. */
fun valueOf(json: String, anchor: String, key: String): String {
    val from = json.indexOf(anchor).takeIf { it >= 0 }?.let { json.indexOf(key, it) }?.takeIf { it >= 0 } ?: return "none"
    return json.substring(from + key.length).takeWhile { it !in "\",}" }
}

class Scenario(private val files: String) {
    private var runtime: Runtime? = null
    private var model: Model? = null
    private var session: Session? = null
    private var adapter: Adapter? = null
    private var embedder: Embedder? = null
    private var state = ByteArray(0)

    private fun <T> of(value: T?): T = value ?: throw Refused()

    fun close() {
        listOf(embedder, session, model, runtime).forEach { it?.close() }
        adapter?.release()
    }

    fun run(line: Line): String = try {
        step(line, CancelToken().apply { if (line.text("cancel") == "before") cancel() })
    } catch (_: Refused) {
        """error invalid_argument {"code":"invalid_argument"}"""
    } catch (failed: LlamaPajamasException.Failed) {
        val name = failed.code.name.lowercase()
        check(failed.details.contains("\"code\":\"$name\"")) { failed.details }
        "error $name ${failed.details}"
    }

    private fun planOptions(line: Line) = PlanOptions(
        contextTokens = line.given("context")?.toULong(),
        memoryBudgetBytes = line.given("budget")?.toULong(),
        memoryCapBytes = line.given("cap")?.toULong(),
        nThreads = line.given("threads")?.toUInt(),
        variant = line.text("variant"),
    )

    private fun generateOptions(line: Line) = GenerateOptions(
        maxTokens = line.number("max", 512.0).toUInt(),
        temperature = line.number("temperature").toFloat(),
        topP = line.text("top_p")?.toFloat(),
        seed = line.given("seed")?.toULong(),
        stop = line.all("stop"),
        jsonSchema = line.text("schema"),
        regex = line.text("regex"),
        grammar = line.text("grammar"),
        adapters = line.text("adapter")?.let { listOf(AdapterUse(of(adapter), it.toFloat())) } ?: listOf(),
        ignoreEndOfTurn = line.number("ignore_end") != 0.0,
        topLogprobs = line.number("logprobs", -1.0).takeIf { it >= 0 }?.toUInt(),
    )

    private fun step(line: Line, cancel: CancelToken): String {
        fun place(name: String = "path") = "$files/${line.text(name) ?: ""}"
        when (line.step) {
            "versions" -> return "abi=${abiVersion()} library=${libraryVersion()}"
            "host" -> return if (hostReport().contains("\"cpu\":{")) "ok" else "no processor"
            "open" -> runtime = Runtime.open(place(), RuntimeOptions(cpuVariant = line.text("cpu_variant"))).also { runtime?.close() }
            "describe" -> {
                val variants = of(runtime).describe().substringBefore(",\"bundle\":")
                val count = variants.split("\"description\":").size - 1
                return "variants=$count first=${valueOf(variants, "\"variants\":[", "\"id\":\"")}"
            }
            "verify" -> return "ok files=${valueOf(verify(place(), cancel = cancel), "", "\"files\":")}"
            "pull" -> pull(line.text("url") ?: "", place("to"), cancel = cancel)
            "plan" -> {
                val chosen = of(runtime).plan(planOptions(line)).chosen ?: return "chosen=none"
                return "chosen=${chosen.id} context=${chosen.contextTokens}"
            }
            "load" -> {
                val stops = line.text("break") != null
                model = of(runtime).load(planOptions(line), cancel) { !stops }.also { model?.close() }
            }
            "describe_model" -> {
                val told = of(model).describe()
                val decodes = if (told.contains("\"is_decoder\":true")) "yes" else "no"
                return "chosen=${valueOf(told, "\"choice\":{", "\"id\":\"")} decoder=$decodes vocabulary=${valueOf(told, "", "\"n_vocab\":")}"
            }
            "tokenize" -> {
                val tokens = of(model).tokenize(line.text("text") ?: "")
                return "n=${tokens.size} tokens=${tokens.joinToString(",")}"
            }
            "detokenize" -> return "text=${quoted(of(model).detokenize(line.text("tokens")!!.split(',').map(String::toInt)))}"
            "session" -> {
                val wishes = listOf(null, WhenFull.SHIFT, WhenFull.GROW)
                val wish = line.number("when_full").toInt()
                if (wish >= wishes.size) throw Refused()
                val options = SessionOptions(contextTokens = line.given("context")?.toUInt(), whenFull = wishes[wish])
                session = of(model).session(options).also { session?.close() }
            }
            "generate", "chat" -> return generate(line, cancel)
            "stream", "stream_chat" -> return stream(line)
            "threads" -> return threads(line)
            "save" -> {
                state = of(session).save()
                return "ok bytes=${state.size}"
            }
            "restore" -> of(session).restore(line.text("bytes")?.toByteArray() ?: state)
            "fork" -> session = of(session).fork().also { session?.close() }
            "adapter" -> adapter = of(model).loadAdapter(place())
            "embedder" -> embedder = of(model).embedder(EmbedOptions(maxTokens = line.given("max")?.toUInt()))
            "embed" -> {
                val values = of(embedder).embed(line.text("text") ?: "", cancel)
                val length = sqrt(values.sumOf { it.toDouble() * it })
                return String.format(Locale.ROOT, "n=%d length=%.2f first=%.4f", values.size, length, values[0])
            }
            "report" -> {
                val heat = Heat.entries.getOrNull(line.number("heat").toInt()) ?: throw Refused()
                return "changes=${of(model).report(Signals(heat = heat)).size}"
            }
            "watch" -> of(model).watch(1000u) {}.close()
            "tune" -> {
                val told = of(runtime).tune(of(model), TuneOptions(budgetS = line.number("budget", 12.0)), cancel) { true }
                if (!told.contains("\"setting\":{")) return told
            }
            "requantize" -> {
                val options = RequantizeOptions(
                    text = SAMPLE, precision = line.text("precision"), nCtx = 32u, maxWindows = 2u, maxKld = 5.0, waitForMains = false,
                )
                return "published=${valueOf(of(runtime).requantize(options, cancel), "\"published\":{", "\"id\":\"")}"
            }
            "quantize" -> {
                val options = QuantizeOptions(
                    format = line.text("format"), precisions = listOfNotNull(line.text("precision")),
                    targetBytes = listOfNotNull(line.text("size")?.toULong()), allowRequantize = line.text("allow") != null,
                    dryRun = line.text("dry") != null, nThreads = 1u,
                )
                return "made=${valueOf(quantize(place("model"), place("to"), options, cancel), "\"variants\":[{", "\"id\":\"")}"
            }
            "close" -> when (line.text("what")) {
                "session" -> of(session).close()
                "model" -> of(model).close()
                else -> of(runtime).close()
            }
            // A listener of the lower layer that throws, which none may: the library catches what that leads to.
            "panic" -> verifyBundle("$files/bundle", null, null, object : Listener {
                override fun onEvent(event: Event): Boolean = throw IllegalStateException("on purpose")
            })
            else -> return "unknown step ${line.step}"
        }
        return "ok"
    }

    private fun generate(line: Line, cancel: CancelToken): String {
        val session = of(session)
        val options = generateOptions(line)
        val how = line.text("cancel") ?: ""
        val heard = Heard()
        val first = CountDownLatch(1)
        val breakAt = line.number("break").toInt()
        val other = if (how == "thread") thread { first.await(); cancel.cancel() } else null
        val hear: Hear = { event ->
            heard.hear(event)
            if (event is Event.Token) {
                first.countDown()
                if (heard.tokens == how.toIntOrNull()) cancel.cancel()
            }
            event !is Event.Token || heard.tokens != breakAt
        }
        val usage = if (line.step == "chat") session.chat(line.messages, options, cancel, hear) else session.generate(line.prompt, options, cancel, hear)
        other?.join()
        return if (other != null) "stop=${reason(usage)}" else heard.answer(usage)
    }

    /** Polled answers through the stream, all others through flows: that is two ways for one table. */
    private fun stream(line: Line): String {
        val session = of(session)
        val options = generateOptions(line)
        val heard = Heard()
        val cancelAt = line.number("cancel").toInt()
        val dropAt = line.number("drop").toInt()
        if (line.text("poll") != null || cancelAt > 0) {
            session.stream(line.prompt, options).use { stream ->
                while (stream.hasNext()) {
                    val event = stream.next(0) ?: continue
                    heard.hear(event)
                    if (event is Event.Token && heard.tokens == cancelAt) stream.cancel()
                }
                val usage = checkNotNull(stream.usage)
                return if (cancelAt > 0) "stop=${reason(usage)}" else heard.answer(usage)
            }
        }
        val events = if (line.step == "stream_chat") session.chatEvents(line.messages, options) else session.events(line.prompt, options)
        var usage: Usage? = null
        runBlocking {
            // Dropped: the collector is cancelled, and has given the session back when that is done.
            var collector: Job? = null
            var problem: LlamaPajamasException? = null
            coroutineScope {
                collector = launch {
                    try {
                        events.collect { event ->
                            heard.hear(event)
                            if (event is Event.Done) usage = event.usage
                            if (event is Event.Token && heard.tokens == dropAt) collector?.cancel()
                        }
                    } catch (failed: LlamaPajamasException) {
                        problem = failed
                    }
                }
            }
            problem?.let { throw it }
        }
        return usage?.let(heard::answer) ?: "dropped"
    }

    private fun threads(line: Line): String {
        val model = of(model)
        val count = line.number("n", 2.0).toInt()
        val pool = Executors.newFixedThreadPool(count)
        val texts = (1..count).map {
            pool.submit<String> {
                val heard = Heard()
                model.session().use { session ->
                    session.generate(line.prompt, generateOptions(line)) { event -> heard.hear(event); true }
                }
                heard.text.toString()
            }
        }.map { it.get() }
        pool.shutdown()
        return "threads=$count same=${if (texts.toSet().size == 1) "yes" else "no"} text=${quoted(texts[0])}"
    }
}

fun main(words: Array<String>) {
    if (words.size != 2) {
        System.err.println("usage: ScenariosKt TABLE FILES")
        exitProcess(2)
    }
    val out = java.io.PrintStream(java.io.FileOutputStream(java.io.FileDescriptor.out), true, "UTF-8")
    var scenario: Scenario? = null
    var name = ""
    for (text in File(words[0]).readText().split('\n').filter { it.isNotEmpty() && !it.startsWith("#") }) {
        val line = Line(text)
        if (scenario == null || line.scenario != name) {
            scenario?.close()
            scenario = Scenario(words[1])
            name = line.scenario
        }
        out.println("${line.scenario}\t${line.step}\t${scenario.run(line)}")
    }
    scenario?.close()
    if (liveObjects() != 0uL) {
        System.err.println("${liveObjects()} objects were not freed")
        exitProcess(1)
    }
    exitProcess(0)
}
