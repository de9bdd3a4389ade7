// What an app tells of its device reaches the library: DeviceAskedKt MODEL. Prints what was checked; fails where it does not.
import io.github.llamapajamas.Device
import io.github.llamapajamas.DeviceSource
import io.github.llamapajamas.ErrorCode
import io.github.llamapajamas.LlamaPajamasException
import io.github.llamapajamas.Runtime
import io.github.llamapajamas.hostReport
import java.util.concurrent.atomic.AtomicInteger
import kotlin.concurrent.thread

private class Told(val free: Long, val heat: Long = -1, val power: Long = -1) : DeviceSource {
    val asked = AtomicInteger()

    override fun availableMemoryBytes(): Long = free.also { asked.incrementAndGet() }
    override fun thermalStatus(): Long = heat
    override fun powerSource(): Long = power
    override fun powerSaver(): Long = 1
}

private object Broken : DeviceSource {
    override fun availableMemoryBytes(): Long = throw IllegalStateException("the app's own mistake")
}

private fun expect(what: String, isTrue: Boolean) {
    println("$what: $isTrue")
    check(isTrue) { what }
}

fun main(words: Array<String>) {
    val small = "\"headroom_bytes\":2097152"
    expect("nobody was told before", small !in hostReport())
    val told = Told(free = 2L shl 20, heat = 4, power = 1)
    Device.attach(told)
    val report = hostReport()
    expect("memory", "{\"source\":\"what the app was told\",$small}" in report)
    expect("heat, power and saver", "\"level\":\"critical\"" in report && "\"source\":\"battery\"" in report && "\"saver\":true" in report)
    Runtime.open(words[0]).use { runtime ->
        expect("nothing is chosen where there is no room", runtime.plan().chosen == null)
        val refused = runCatching { runtime.load() }.exceptionOrNull() as? LlamaPajamasException.Failed
        expect("loading says so", refused?.code == ErrorCode.DOES_NOT_FIT)
    }
    Device.attach(Told(free = 4L shl 30))
    Runtime.open(words[0]).use { runtime -> runtime.load().use { expect("there is room now", runtime.plan().chosen != null) } }
    Device.attach(Broken)
    expect("what throws is not known", small !in hostReport())
    Device.attach(told)
    val before = told.asked.get()
    val threads = List(8) { thread { repeat(50) { hostReport() } } }
    threads.forEach(Thread::join)
    expect("any thread asks", told.asked.get() == before + 400)
    Device.attach(null)
    expect("nobody is asked any more", small !in hostReport() && told.asked.get() == before + 400)
}
