// Many threads, random calls on shared objects: `StressKt MODEL THREADS SECONDS`, as bindings/c/stress.c does in C. Nothing may crash,
// hang or leak, and every refusal has to be one that may come. Prints how often each call and each code came.
import io.github.llamapajamas.*
import java.util.concurrent.ConcurrentHashMap
import java.util.concurrent.atomic.AtomicLong
import java.util.concurrent.atomic.AtomicReferenceArray
import kotlin.concurrent.thread
import kotlin.random.Random
import kotlin.system.exitProcess
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking

private const val SLOTS = 8
private val calls = listOf(
    "plan", "load", "session", "generate", "cancel", "stream", "next", "close stream", "close session", "close model", "save and restore",
    "fork", "flow",
)
private val allowed = setOf(
    ErrorCode.INVALID_ARGUMENT, ErrorCode.CANCELLED, ErrorCode.IN_USE, ErrorCode.DOES_NOT_FIT, ErrorCode.BUSY,
)
private val models = AtomicReferenceArray<Model>(3)
private val sessions = AtomicReferenceArray<Session>(SLOTS)
private val streams = AtomicReferenceArray<Stream>(SLOTS)
private val cancels = List(SLOTS) { CancelToken() }

private fun call(runtime: Runtime, which: String, random: Random) {
    val slot = random.nextInt(SLOTS)
    val cancel = cancels[random.nextInt(SLOTS)]
    val options = GenerateOptions(maxTokens = random.nextInt(24).toUInt())
    when (which) {
        "plan" -> runtime.plan()
        "load" -> if (slot < 3) models.getAndSet(slot, runtime.load(PlanOptions(contextTokens = 256u, nThreads = 1u), cancel))?.close()
        "session" -> models[slot % 3]?.let { sessions.getAndSet(slot, it.session())?.close() }
        "generate" -> sessions[slot]?.generate("Once upon a time", options, cancel) { random.nextInt(100) != 0 }
        "cancel" -> {
            cancel.cancel()
            Thread.sleep(random.nextLong(2))
            cancel.reset()
            streams[slot]?.cancel()
        }
        "stream" -> sessions[slot]?.let { streams.getAndSet(slot, it.stream("Once upon a time", options))?.close() }
        "next" -> streams[slot]?.next(random.nextLong(5))
        "close stream" -> streams[slot]?.close() // it stays: closed twice, used after
        "close session" -> sessions[slot]?.close()
        "close model" -> if (random.nextInt(20) == 0) models[slot % 3]?.close()
        "save and restore" -> sessions[slot]?.save()?.let { sessions[random.nextInt(SLOTS)]?.restore(it) }
        "fork" -> sessions[slot]?.let { sessions.getAndSet(slot, it.fork())?.close() }
        "flow" -> sessions[slot]?.let { session ->
            runBlocking {
                var problem: LlamaPajamasException? = null
                val job = launch {
                    try {
                        session.events("Once upon a time", options).collect {}
                    } catch (failed: LlamaPajamasException) {
                        problem = failed
                    }
                }
                kotlinx.coroutines.delay(random.nextLong(20))
                job.cancel()
                job.join()
                problem?.let { throw it }
            }
        }
    }
}

fun main(words: Array<String>) {
    val (path, count, seconds) = words
    val runtime = Runtime.open(path)
    val counts = ConcurrentHashMap<String, AtomicLong>()
    fun count(name: String) = counts.computeIfAbsent(name) { AtomicLong() }.incrementAndGet()
    val end = System.nanoTime() + seconds.toLong() * 1_000_000_000
    val lastCall = LongArray(count.toInt())
    val threads = List(count.toInt()) { self ->
        thread {
            val random = Random(self)
            while (System.nanoTime() < end) {
                val which = calls[random.nextInt(calls.size)]
                lastCall[self] = System.nanoTime()
                try {
                    call(runtime, which, random)
                    count("ok")
                } catch (failed: LlamaPajamasException.Failed) {
                    count(failed.code.name)
                } catch (defect: Throwable) {
                    defect.printStackTrace()
                    count("DEFECT ${defect.javaClass.simpleName}")
                }
                count("call $which")
            }
            lastCall[self] = 0
        }
    }
    for ((self, thread) in threads.withIndex()) {
        while (thread.isAlive) {
            thread.join(1000)
            if (lastCall[self] != 0L && System.nanoTime() - lastCall[self] > 60_000_000_000) {
                System.err.println("thread $self waits for a minute: a deadlock")
                exitProcess(1)
            }
        }
    }
    for (slot in 0 until SLOTS) {
        streams[slot]?.close()
        sessions[slot]?.close()
    }
    for (slot in 0 until 3) models[slot]?.close()
    runtime.close()
    println(counts.toSortedMap().entries.joinToString(", ") { "${it.key} ${it.value}" } + "; ${liveObjects()} objects left")
    val refused = counts.keys.filterNot { it == "ok" || it.startsWith("call ") }
    exitProcess(if (liveObjects() != 0uL || refused.any { name -> allowed.none { it.name == name } }) 1 else 0)
}
