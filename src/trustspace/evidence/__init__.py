"""The reviewer's report: what was measured about an output, in words a hospital's data officer can use."""
