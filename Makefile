# Each target makes .venv on first use; the commands are in scripts/task.sh, which also works without make.
.PHONY: help demo test check bench bench-accuracy clean

help demo test check bench bench-accuracy clean:
	@PYTHON="$(PYTHON)" CLIPS="$(CLIPS)" QUICK="$(QUICK)" DOCS="$(DOCS)" scripts/task.sh $@
