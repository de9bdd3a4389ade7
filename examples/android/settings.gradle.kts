// Opens in Android Studio. The library is the archive that `cargo xtask package aar` makes, copied into app/libs.
pluginManagement {
    repositories { google(); mavenCentral(); gradlePluginPortal() }
}
dependencyResolutionManagement {
    repositories { google(); mavenCentral() }
}
rootProject.name = "llamachat"
include(":app")
