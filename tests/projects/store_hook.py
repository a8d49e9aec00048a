import sys
def refuse(event, arguments):
    if event in {"subprocess.Popen", "os.fork", "os.exec", "os.posix_spawn", "os.system"}:
        raise RuntimeError(f"started a program: {event} {arguments}")
sys.addaudithook(refuse)
from orchestrator.cli import main
main()
