# Each target makes .venv on first use; the commands are in scripts/task.sh, which also works without make.
.PHONY: help demo test check bench clean

help demo test check bench clean:
	@PYTHON="$(PYTHON)" scripts/task.sh $@
