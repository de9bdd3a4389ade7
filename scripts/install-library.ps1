# Windows: puts DLL, import library, headers and CMake package below a prefix, in the layout of scripts/install-library.
#     powershell -File scripts\install-library.ps1 -Prefix C:\llama-pajamas [-Built target\dist]
# Build first: cargo rustc --profile dist -p llama-pajamas-ffi --lib --crate-type cdylib
param([Parameter(Mandatory)] [string] $Prefix, [string] $Built = "target\dist")
$ErrorActionPreference = "Stop"
Set-Location (Join-Path $PSScriptRoot "..")
$version = (Select-String -Path Cargo.toml -Pattern '^version = "(.*)"').Matches[0].Groups[1].Value
$package = Join-Path $Prefix "lib\cmake\llama_pajamas"
foreach ($folder in "bin", "lib", "include", "lib\cmake\llama_pajamas") {
    New-Item -ItemType Directory -Force (Join-Path $Prefix $folder) | Out-Null
}
Copy-Item (Join-Path $Built "llama_pajamas_ffi.dll") (Join-Path $Prefix "bin")
Copy-Item (Join-Path $Built "llama_pajamas_ffi.dll.lib") (Join-Path $Prefix "lib")
Copy-Item bindings\c\include\llama_pajamas.h, bindings\cpp\include\llama_pajamas.hpp (Join-Path $Prefix "include")
Copy-Item bindings\cmake\llama_pajamas-config.cmake $package
(Get-Content bindings\cmake\llama_pajamas-config-version.cmake.in) -replace "@VERSION@", $version |
    Set-Content (Join-Path $package "llama_pajamas-config-version.cmake")
Write-Output "installed $version below $Prefix"
