"""While one is alone nobody works, and who works lets it in between two steps."""

import threading
import time

from serving.gate import Gate


def test_one_alone_is_let_in_between_two_steps_and_nobody_moves_meanwhile() -> None:
    gate, moves, is_over = Gate(), [0], threading.Event()

    def work() -> None:
        with gate.working():
            while not is_over.is_set():
                moves[0] += 1
                gate.step()
                time.sleep(0.001)

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for _ in range(5):
        with gate.alone():
            before = moves[0]
            time.sleep(0.01)
            assert moves[0] == before
    before = moves[0]
    deadline = time.monotonic() + 5
    while moves[0] == before and time.monotonic() < deadline:
        time.sleep(0.001)
    is_over.set()
    for worker in workers:
        worker.join(5)
        assert not worker.is_alive()
    assert moves[0] > before


def test_two_who_want_to_be_alone_are_so_one_after_the_other() -> None:
    gate, inside, most = Gate(), [0], [0]

    def alone() -> None:
        with gate.alone():
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.005)
            inside[0] -= 1

    threads = [threading.Thread(target=alone) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert most[0] == 1
    with gate.working():
        gate.step()
