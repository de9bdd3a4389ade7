// Android's word on memory, heat and energy: asked when a model is opened, and told to loaded models when it changes.
package io.github.llamapajamas.android

import android.app.ActivityManager
import android.content.BroadcastReceiver
import android.content.ComponentCallbacks2
import android.content.Context
import android.content.Intent
import android.content.IntentFilter
import android.content.res.Configuration
import android.os.BatteryManager
import android.os.Build
import android.os.PowerManager
import io.github.llamapajamas.Device
import io.github.llamapajamas.DeviceSource
import io.github.llamapajamas.Heat
import io.github.llamapajamas.LlamaPajamasException
import io.github.llamapajamas.MemoryLevel
import io.github.llamapajamas.Model
import io.github.llamapajamas.Power
import io.github.llamapajamas.Signals
import java.util.concurrent.CopyOnWriteArrayList

/**
 * This device. One for the whole app, made before the first model is opened; [follow] keeps loaded models informed until [close].
 */
class AndroidDevice(context: Context) : DeviceSource, AutoCloseable {
    private val app = context.applicationContext
    private val activities = requireNotNull(app.getSystemService(ActivityManager::class.java))
    private val power = requireNotNull(app.getSystemService(PowerManager::class.java))
    private val models = CopyOnWriteArrayList<Model>()
    private val heard = if (Build.VERSION.SDK_INT >= 29) Thermal() else null

    private val trims = object : ComponentCallbacks2 {
        override fun onTrimMemory(level: Int) {
            // Newer systems tell of hidden windows and of the background alone; what is short of memory is asked for then.
            tell(Signals(memory = levelOf(memoryLevel())))
        }

        override fun onConfigurationChanged(changed: Configuration) = Unit

        @Deprecated("Android's own", ReplaceWith("onTrimMemory"))
        override fun onLowMemory() = tell(Signals(memory = MemoryLevel.CRITICAL))
    }

    private val energy = object : BroadcastReceiver() {
        override fun onReceive(context: Context, intent: Intent) = tell(
            Signals(power = if (powerSource() == 0L) Power.MAINS else Power.BATTERY, saver = powerSaver() == 1L),
        )
    }

    init {
        Device.attach(this)
        app.registerComponentCallbacks(trims)
        val changes = IntentFilter(Intent.ACTION_POWER_CONNECTED).apply {
            addAction(Intent.ACTION_POWER_DISCONNECTED)
            addAction(PowerManager.ACTION_POWER_SAVE_MODE_CHANGED)
        }
        // Broadcasts of the system alone.
        if (Build.VERSION.SDK_INT >= 33) app.registerReceiver(energy, changes, Context.RECEIVER_NOT_EXPORTED)
        else app.registerReceiver(energy, changes)
        heard?.begin()
    }

    /** Tells [model] of every change until it is closed. */
    fun follow(model: Model) {
        models += model
    }

    override fun availableMemoryBytes(): Long = memory().run { maxOf(0, availMem - threshold) }

    override fun memoryLevel(): Long = memory().run {
        when {
            lowMemory -> 2
            availMem < 2 * threshold -> 1
            else -> 0
        }
    }

    override fun thermalStatus(): Long = if (Build.VERSION.SDK_INT >= 29) power.currentThermalStatus.toLong() else -1

    override fun powerSource(): Long {
        val last = app.registerReceiver(null, IntentFilter(Intent.ACTION_BATTERY_CHANGED)) ?: return -1
        return if (last.getIntExtra(BatteryManager.EXTRA_PLUGGED, 0) != 0) 0 else 1
    }

    override fun powerSaver(): Long = if (power.isPowerSaveMode) 1 else 0

    /** Tells no model any more. */
    override fun close() {
        heard?.end()
        app.unregisterReceiver(energy)
        app.unregisterComponentCallbacks(trims)
        Device.attach(null)
        models.clear()
    }

    private fun memory() = ActivityManager.MemoryInfo().also(activities::getMemoryInfo)

    private fun levelOf(level: Long) = MemoryLevel.entries[level.toInt()]

    private fun tell(signals: Signals) = models.forEach { model ->
        try {
            model.report(signals)
        } catch (closed: LlamaPajamasException.Failed) {
            models -= model
        }
    }

    /** A class of its own: older systems know no such listener. */
    private inner class Thermal {
        private val listener = PowerManager.OnThermalStatusChangedListener { status ->
            tell(Signals(heat = if (status >= 4) Heat.HOT else if (status >= 2) Heat.WARM else Heat.COOL))
        }

        fun begin() = power.addThermalStatusListener(app.mainExecutor, listener)

        fun end() = power.removeThermalStatusListener(listener)
    }
}
