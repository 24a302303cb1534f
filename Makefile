# CI Portal: `make run` starts it on this machine, `make test` runs the tests that need no server.

ADDRESS ?= 127.0.0.1:8000
PYTHON ?=
export PYTHON

python := .venv/bin/python
sources := accounts ci_portal events logs repos runners
# As in production; `check` connects to no database.
production := DJANGO_SETTINGS_MODULE=tests.settings CI_PORTAL_DATABASE__ENGINE=mysql CI_PORTAL_AUTH__MODE=required \
  CI_PORTAL_PORTAL__BASE_URL=https://portal.example
no_server := not (fuzz or needs_buildah or needs_registry or needs_cluster or needs_mariadb or needs_uwsgi or needs_browser)

.PHONY: help run test bench lint lock ci audit soak
.DELETE_ON_ERROR:

help: ## say what there is
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

run: .venv/run.stamp ## start portal and watcher on this machine (ADDRESS=127.0.0.1:8000), with a sample repository
	@tools/install-buildah.sh
	@exec $(python) manage.py dev --address $(ADDRESS)

test: .venv/dev.stamp ## run all tests that need no server (ARGS="-k check")
	$(python) -m pytest -n auto --dist worksteal -m "$(no_server)" $(ARGS)

lint: .venv/dev.stamp ## check style, types, the direction of imports, and that migrations are complete
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy manage.py $(sources)
	PYTHONPATH=. .venv/bin/lint-imports
	DJANGO_SETTINGS_MODULE=tests.settings $(python) manage.py makemigrations --check --dry-run
	$(production) $(python) manage.py check --deploy --fail-level WARNING

bench: .venv/dev.stamp ## measure what the portal costs beside the least possible, on the cluster of KUBECONFIG (ARGS="--only check")
	$(python) -m bench $(ARGS)

soak: .venv/dev.stamp ## builds and faults at random on the cluster of KUBECONFIG, and an audit of all that is left (MINUTES=30 SEED=…)
	$(python) -m tests.faults.soak $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

audit: .venv/dev.stamp ## ask whether a locked package has a known vulnerability
	$(python) tools/audit.py

lock: .venv/dev.stamp ## turn requirements*.in into requirements*.txt, with hashes
	for name in requirements requirements-dev; do \
	  .venv/bin/uv pip compile --quiet --upgrade --generate-hashes --no-emit-index-url --python-version 3.11 --universal $$name.in -o $$name.txt || exit 1; \
	done

ci: ## run everything, as a fresh Debian machine does, as root
	bash .ci/run

.venv/run.stamp: requirements.txt tools/make-venv.sh tools/system.sh
	@tools/make-venv.sh requirements.txt
	@touch $@

.venv/dev.stamp: requirements-dev.txt tools/make-venv.sh tools/system.sh
	@tools/make-venv.sh requirements-dev.txt
	@touch $@ .venv/run.stamp
