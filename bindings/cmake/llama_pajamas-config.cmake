# find_package(llama_pajamas): the targets llama_pajamas::c and llama_pajamas::cpp, which brings the former along.
get_filename_component(_llama_pajamas_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
if(NOT TARGET llama_pajamas::c)
    add_library(llama_pajamas::c SHARED IMPORTED)
    set_target_properties(llama_pajamas::c PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${_llama_pajamas_prefix}/include")
    if(WIN32)
        set_target_properties(llama_pajamas::c PROPERTIES
            IMPORTED_LOCATION "${_llama_pajamas_prefix}/bin/llama_pajamas_ffi.dll"
            IMPORTED_IMPLIB "${_llama_pajamas_prefix}/lib/llama_pajamas_ffi.dll.lib")
    else()
        set_target_properties(llama_pajamas::c PROPERTIES
            IMPORTED_LOCATION "${_llama_pajamas_prefix}/lib/${CMAKE_SHARED_LIBRARY_PREFIX}llama_pajamas_ffi${CMAKE_SHARED_LIBRARY_SUFFIX}"
            IMPORTED_NO_SONAME ON)
    endif()
    add_library(llama_pajamas::cpp INTERFACE IMPORTED)
    set_target_properties(llama_pajamas::cpp PROPERTIES
        INTERFACE_LINK_LIBRARIES llama_pajamas::c
        INTERFACE_COMPILE_FEATURES cxx_std_17)
endif()
