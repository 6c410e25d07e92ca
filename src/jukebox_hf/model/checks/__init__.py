"""What strangers may give: values, text, arguments and JSON, checked in one sentence each."""
