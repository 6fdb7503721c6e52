"""Guessing is slowed down; others are not."""

from webapp.throttle import MOST_KEYS, WINDOW_SECONDS, Throttle


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_key_is_refused_after_its_limit_until_the_window_has_passed():
    clock = Clock()
    throttle = Throttle(3, clock)
    for _ in range(3):
        assert throttle.wait_seconds("a") == 0
        throttle.fail("a")
        clock.now += 1
    assert throttle.wait_seconds("a") == WINDOW_SECONDS - 3
    assert throttle.wait_seconds("b") == 0
    clock.now = WINDOW_SECONDS
    assert throttle.wait_seconds("a") == 0


def test_success_forgives():
    throttle = Throttle(1, Clock())
    throttle.fail("a")
    throttle.forgive("a")
    assert throttle.wait_seconds("a") == 0


def test_many_keys_do_not_fill_the_memory():
    throttle = Throttle(1, Clock())
    for number in range(MOST_KEYS + 50):
        throttle.fail(str(number))
    assert len(throttle._failures) == MOST_KEYS
