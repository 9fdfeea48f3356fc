# What both Makefiles share: which variables they take, and hints for what is misspelt.

# suggest(word, options): "did you mean 'X'? " or nothing.
SHARED := $(dir $(abspath $(lastword $(MAKEFILE_LIST))))
suggest = $(shell cd '$(SHARED)' && python3 -c 'import sys, cli; print(cli.suggest(sys.argv[1], sys.argv[2:]))' \
	'$(subst ',,$(1))' $(2) 2>/dev/null)

# TAKES: the variables that may stand on the command line; any other would change nothing, silently.
# A make that another one started inherits that one's; they were looked at there.
ifeq ($(MAKELEVEL),0)
UNKNOWN := $(filter-out $(TAKES),$(foreach v,$(.VARIABLES),$(if $(filter command,$(origin $(v))),$(v))))
ifneq ($(UNKNOWN),)
$(error $(firstword $(UNKNOWN)) is no variable of this Makefile; $(call suggest,$(firstword \
	$(UNKNOWN)),$(TAKES))it takes: $(TAKES))
endif
endif
