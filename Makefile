# make book    executes every chapter and builds the site
# make serve   shows the built site at http://127.0.0.1:8000
# make pdf     prints the whole book into one file, with the Chromium or Chrome that is here
# make test    lints, runs the unit tests and every chapter, builds the book strictly, checks its links, tries it in a
#              browser (Chromium, which it installs where apt-get is and who runs it may)
# make clean   takes everything back that make made
#
# A Python other than the first good one found: make book PYTHON=python3.12

PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
PORT ?= 8000
SITE := _build/html
PDF := _build/book.pdf
BUILD := .venv/bin/jupyter-book build .
CHROMIUM = $(shell for browser in chromium chromium-browser google-chrome; do command -v $$browser && break; done)
CACHE := _build/.jupyter_cache

# Every chapter that the cache does not hold, one a core at a time. One that fails is run again by the build, which then
# fails with its traceback. RELMEM_STILL is what book/stills.py sets for that one. The list of chapters is made anew: one
# that has lost its place since, by a new name or in another branch, would stop all others.
EXECUTE = OMP_NUM_THREADS=1 RELMEM_STILL=1 JUPYTERCACHE=$(CACHE) sh -c \
	'mkdir -p $(CACHE) \
	&& .venv/bin/jcache notebook clear --force > /dev/null \
	&& .venv/bin/jcache notebook add chapters/*.ipynb > /dev/null \
	&& .venv/bin/jcache project execute --executor local-parallel --timeout 900'

# Jupyter's execution cache knows the chapters, not what they run: one cache for each state of the library, and for each
# .venv.
EXECUTED_WITH := _build/executed-with-$(shell find relmem_lite requirements.txt -type f -not -path '*/__pycache__/*' \
	| LC_ALL=C sort | xargs cat | cksum | cut -d ' ' -f 1)

.PHONY: book serve pdf test tests clean another-python

book: .venv/package $(EXECUTED_WITH)
	$(EXECUTE)
	OMP_NUM_THREADS=1 $(BUILD)
	@printf '\nThe book lies in %s/index.html; to read it as a site: make serve\n' $(SITE)

serve:
	@test -f $(SITE)/index.html || { echo 'There is no built book yet: make book'; exit 1; }
	.venv/bin/python -m http.server --bind 127.0.0.1 --directory $(SITE) $(PORT)

pdf:
	@test -n "$(CHROMIUM)" || { echo 'No Chromium here to print with: install it, or Chrome.'; exit 1; }
	$(MAKE) book
	OMP_NUM_THREADS=1 $(BUILD) --builder singlehtml
	.venv/bin/python book/pdf.py "$(CHROMIUM)" _build/singlehtml $(PDF)
	@printf '\nThe book to print: %s\n' $(PDF)

# Two workers of one thread each, so that two cores are busy and none is fought over.
test: .venv/package $(EXECUTED_WITH)
	@test -n "$(CHROMIUM)" \
		|| { command -v apt-get > /dev/null && test "$$(id -u)" = 0 \
			&& apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium > /dev/null; } \
		|| echo 'No Chromium here, and it cannot be installed: install one to have the site tried in a browser.'
	@printf '\n== lint\n'
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	@printf '\n== unit tests\n'
	OMP_NUM_THREADS=1 .venv/bin/pytest -n 2
	@printf '\n== chapters\n'
	$(EXECUTE)
	@printf '\n== book\n'
	OMP_NUM_THREADS=1 $(BUILD) --all -n -W --keep-going
	@printf '\n== links\n'
	.venv/bin/python tests/check_site.py $(SITE)
	@printf '\n== browser\n'
	.venv/bin/pytest -n 2 tests/browser --site $(SITE)

tests: test # there is a folder of that name

# A Python that is asked for takes the place of another one that .venv was made by.
VERSION := -c 'import platform; print(platform.python_version())' 2>/dev/null
ifeq ($(origin PYTHON), command line)
ifneq ($(wildcard .venv/requirements),)
ifneq ($(shell "$(PYTHON)" $(VERSION)), $(shell .venv/bin/python $(VERSION)))
ANOTHER := another-python
endif
endif
endif
another-python:

# The stamps come last: an install that was interrupted starts over.
.venv/package: .venv/requirements pyproject.toml
	.venv/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.venv/requirements: requirements.txt $(ANOTHER)
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo 'The book needs Python 3.11 or newer: install one and name it, as in: make book PYTHON=python3.12'; exit 1; }
	$(if $(ANOTHER),@echo 'Making .venv anew: it is of another Python than $(PYTHON).')
	"$(PYTHON)" -m venv --clear .venv
	.venv/bin/python -m pip install --disable-pip-version-check -r requirements.txt
	@touch $@

$(EXECUTED_WITH): .venv/requirements
	@rm -rf _build/executed-with-* $(CACHE) _build/.doctrees
	@mkdir -p _build
	@touch $@

clean:
	rm -rf .venv _build *.egg-info .pytest_cache .ruff_cache .hypothesis
