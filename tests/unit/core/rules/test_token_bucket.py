from core.rules.token_bucket import TokenBucket


def test_burst_is_followed_by_the_rate() -> None:
    bucket = TokenBucket(2, 5, 10.0)
    assert bucket.take(5, 10.0)
    assert not bucket.take(1, 10.4)
    assert bucket.take(1, 10.5)


def test_refused_cost_takes_no_tokens() -> None:
    bucket = TokenBucket(0, 5, 0.0)
    assert not bucket.take(6, 0.0)
    assert bucket.take(5, 0.0)


def test_silence_saves_no_more_than_a_burst() -> None:
    bucket = TokenBucket(2, 5, 0.0)
    assert not bucket.take(5.1, 1e6)
