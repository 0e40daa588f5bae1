from tests.mpy import run_micropython


def test_micropython_runs_with_the_heap_of_an_esp32():
    out = run_micropython("import gc; print(gc.mem_free() + gc.mem_alloc() < 163840)").stdout
    assert out.strip() == "True"
