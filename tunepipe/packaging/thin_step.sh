# sh -ec SCRIPT CODE EXECUTOR_INPUT MODULE FUNCTION: install what CODE names, and run the step.
export _KFP_RUNTIME=true PYTHONSAFEPATH=1
case $0 in '' | installed:*) ;; *)
  set -f
  export INTO=$(mktemp -d) WHEELS="${0%code/*}wheels"
  export PYTHONPATH=$INTO${PYTHONPATH:+:$PYTHONPATH}
  pip="python3 -m pip -q --disable-pip-version-check --no-input install --no-deps --no-compile --target $INTO"
  case $0 in
    */) $pip --no-index --require-hashes -r "$0$3.txt" ;;
    *) $pip $0 ;;
  esac
esac
python3 -c 'import tunepipe' 2>&- || {
  echo 'error: no tunepipe: code names no wheel and no requirement, and the image has none (docs/deploying.md)' 1>&2
  exit 2
}
# kfp.local takes a step for one of Python's by the name of kfp's own program.
exec python3 -m tunepipe.packaging.step "$0" "$@"  # kfp.dsl.executor_main
