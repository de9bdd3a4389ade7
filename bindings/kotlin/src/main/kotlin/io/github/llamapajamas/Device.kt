// What an app knows of its device, and the library cannot ask by itself.
package io.github.llamapajamas

/**
 * What an app knows of its device. Numbers below 0 say: not known. Asked on any thread whenever a model is opened or [hostReport] is
 * called; what throws counts as not known. On Android it is `AndroidDevice`.
 */
interface DeviceSource {
    /** Memory that the app may still take, in bytes; Android: `MemoryInfo.availMem − threshold`. */
    fun availableMemoryBytes(): Long = -1

    /** 0 enough, 1 low, 2 critical. */
    fun memoryLevel(): Long = -1

    /** Android's thermal status, from 0, none, to 6, shutdown. */
    fun thermalStatus(): Long = -1

    /** 0 mains, 1 battery. */
    fun powerSource(): Long = -1

    /** 1: the user asked to save energy; 0: not. */
    fun powerSaver(): Long = -1
}

/** The native library as the virtual machine knows it. Needs a library with the feature `jni`, as the one for Android is. */
object Device {
    init {
        System.loadLibrary("llama_pajamas_ffi")
    }

    /** Whom to ask about the device from now on; null: nobody. */
    @JvmStatic
    external fun attach(source: DeviceSource?)
}
