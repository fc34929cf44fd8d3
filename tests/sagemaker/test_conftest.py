"""The guard of the SageMaker tests: what would leave this machine fails."""

pytest_plugins = ["pytester"]


def test_a_test_that_looks_up_another_machine_fails_even_if_it_swallows_the_error(pytester, request):
    """Requirement 20: look-ups outside loopback fail the test."""
    pytester.makeconftest((request.path.parent / "conftest.py").read_text(encoding="utf-8"))
    pytester.makepyfile(
        """
        import socket

        def test_swallows():
            try:
                socket.getaddrinfo("sagemaker.example.test", 443)
            except OSError:
                pass

        def test_stays():
            assert socket.getaddrinfo("localhost", 80)
        """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=2, errors=1)


def test_a_test_that_leaves_a_temporary_folder_fails(pytester, request):
    """Requirement 20: no temporary tree is left."""
    pytester.makeconftest((request.path.parent / "conftest.py").read_text(encoding="utf-8"))
    pytester.makepyfile(
        """
        import tempfile

        def test_leaves():
            tempfile.mkdtemp()

        def test_tidies():
            with tempfile.TemporaryDirectory():
                pass
        """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=2, errors=1)
