# SPDX-License-Identifier: BSD-3-Clause

# add_man_page(SOURCE SECTION): build the manual page NAME.SECTION from NAME.pod
# in this folder, and install it.
find_program(POD2MAN pod2man)
if(NOT POD2MAN)
  message(WARNING "pod2man (perl) was not found: the manual pages are not built")
endif()

function(add_man_page source section)
  if(NOT POD2MAN)
    return()
  endif()
  cmake_path(GET source STEM LAST_ONLY name)
  set(page ${CMAKE_CURRENT_BINARY_DIR}/${name}.${section})
  add_custom_command(
    OUTPUT ${page}
    COMMAND ${POD2MAN} --utf8 --errors=die --name=${name} --section=${section}
      "--center=sectors" --release=${PROJECT_VERSION}
      ${CMAKE_CURRENT_SOURCE_DIR}/${source} ${page}
    DEPENDS ${source}
    VERBATIM)
  add_custom_target(man-${name} ALL DEPENDS ${page})
  install(FILES ${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
endfunction()
